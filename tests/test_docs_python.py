"""The examples of docs/python.md and of the notebook are run as they are printed."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "unlearn_your_model.ipynb"


@pytest.mark.slow
def test_the_examples_of_the_page_run(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text()
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), space)
    said = capsys.readouterr().out
    assert "done" in said and "answer_nll" in said


def cells(kind):
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_short_and_has_its_outputs():
    assert len(cells("code")) + len(cells("markdown")) < 15
    assert [cell["execution_count"] for cell in cells("code")] == list(range(1, len(cells("code")) + 1))
    shown = [cell for cell in cells("code") if isinstance(ast.parse("".join(cell["source"])).body[-1], ast.Expr)]
    assert shown and all(cell["outputs"] for cell in shown)
    assert "/tmp" not in NOTEBOOK.read_text() and "/home" not in NOTEBOOK.read_text()


@pytest.mark.slow
def test_the_cells_of_the_notebook_run_in_order(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for number, cell in enumerate(cells("code"), 1):
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), space)
    table = space["table"]
    losses = table[(table.metric == "answer_nll") & (table.split == "forget")].set_index("role").value
    assert losses["unlearned"] > losses["original"]
