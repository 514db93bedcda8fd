"""The two-phase method of docs/adding-a-method.md trains; the page's first method is run by tests/test_docs.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from worlds import SGD

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that the page shows."""
    module = ModuleType("up_and_down")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    exec(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1], vars(module))
    return module


def test_the_two_phases_of_the_page_forget_and_keep(documented, tiny_problem, original):
    problem = tiny_problem()
    method = documented.UpAndDown(up=2, down=4, batch_norm="frozen", optimizer=SGD)
    before = problem.task.score(original, problem.forget).loss.mean()
    model = method(original, problem)
    assert len(problem.record.curve) == 6
    assert problem.task.score(model, problem.forget).loss.mean() > before + 0.1
    kept = problem.task.score(model, problem.retain)
    assert (kept.prediction == kept.label).mean() > 0.9
