"""Small real pieces that tests share: a learnable data set, a trained original, a problem, a command line."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import absl.logging
import pytest
import torch
from warm import Warm

from cluster import cluster as cluster
from cluster import slurm as slurm
from unlearnbench.contracts import DataInfo
from unlearnbench.forget.classes import ByClass
from unlearnbench.machine.bars import Quiet
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.problem import Problem
from unlearnbench.randomness import seeded
from unlearnbench.request import plugins
from unlearnbench.tasks.image import ImageTask
from unlearnbench.tasks.rendering import Renderer
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record
from worlds import CPU, HERE, RECIPE, TEXT_RECIPE, llama, synthetic, text_world


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several workers (pytest -n 2), and what it starts, one thread: more would wait for each other.

    absl, which rouge-score imports, keeps the stderr of the moment, and closes it when a test lets Hydra set up
    logging. Under pytest that would be the file that captures the output of all tests.
    """
    absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__
    if hasattr(config, "workerinput"):
        os.environ["OMP_NUM_THREADS"] = HERE["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, then those with most tests, so that several workers end at about one time."""
    counts = Counter(item.path for item in items)
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: (item.path not in slow, -counts[item.path]))


@pytest.fixture(autouse=True)
def _plots_only_where_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures in this process, a second each, but in tests with the mark `plots`: those look at them."""
    if "plots" not in request.keywords:
        monkeypatch.setattr("unlearnbench.plots.report.draw", lambda *_what: [])
        monkeypatch.setattr("unlearnbench.plots.run.draw", lambda *_what: None)
        monkeypatch.setattr("unlearnbench.plots.audits.relearning", lambda *_what: None)


@pytest.fixture(autouse=True)
def _no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process see an idle machine: what they say must not depend on the tests beside them."""
    monkeypatch.setattr("unlearnbench.machine.threads._running", lambda: 0.0)


@pytest.fixture(autouse=True)
def _no_plugin_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget each test's --plugin files after it: they would count as code of every later run, here and in workers."""
    monkeypatch.setenv(plugins.FILES, "")
    monkeypatch.setattr(plugins, "_named", [])
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture(scope="session", autouse=True)
def _one_process_for_a_template() -> Iterator[None]:
    """Let all tasks with a chat template share the process that renders it: a start takes as long as a small test."""
    shared: dict[tuple[str, str], Renderer] = {}

    def renderer(template: str, names: Mapping[str, object]) -> Renderer:
        key = template, str(names)
        if key not in shared:
            shared[key] = Renderer(template, names)
        return shared[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unlearnbench.tasks.chat.Renderer", renderer)
        yield


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """A data set with four classes, its task, its splits, and an original trained on all of it."""
    dataset, spec = synthetic(), TinyCNN(checkpoint=None)
    data = dataset.load()
    task = ImageTask(data, dataset, CPU, spec.parts().head, 64)
    splits = ByClass(classes=(0,), seed=0).split(data)
    with seeded("tiny"):
        model = fit(
            task.prepare(spec.build(data.info)), task, data.train, data.validation, RECIPE,
            seed=0, record=Record(), progress=Quiet(),
        )  # fmt: skip
    return SimpleNamespace(dataset=dataset, data=data, task=task, splits=splits, spec=spec, original=model)


@pytest.fixture(scope="session")
def tiny_text() -> SimpleNamespace:
    """A part of the embedded notes, its task, its splits, and a tiny LLaMA trained on them for a moment."""
    return text_world()


def problem_over(world: SimpleNamespace, **changes: object) -> Problem:
    """Make a fresh problem over a world; fields can be replaced."""
    values = {
        "task": world.task, "info": world.data.info, "retain": world.splits.retain, "forget": world.splits.forget,
        "validation": world.splits.validation, "spec": world.spec, "recipe": RECIPE, "seed": 1,
        "reference": copy.deepcopy(world.original).requires_grad_(False),
        "record": Record(), "progress": Quiet(), "twins": world.data.corrected,
    }  # fmt: skip
    return Problem(**{**values, **changes})


@pytest.fixture
def tiny_problem(tiny: SimpleNamespace) -> Callable[..., Problem]:
    """Make problems over the tiny images: each call a fresh one, fields can be replaced."""
    return lambda **changes: problem_over(tiny, **changes)


@pytest.fixture
def text_problem(tiny_text: SimpleNamespace) -> Callable[..., Problem]:
    """Make problems over the tiny text: each call a fresh one, fields can be replaced."""
    return lambda **changes: problem_over(tiny_text, **{"recipe": TEXT_RECIPE, **changes})


@pytest.fixture
def original(tiny: SimpleNamespace) -> torch.nn.Module:
    """A copy of the trained original that a test may change."""
    return copy.deepcopy(tiny.original)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pretrained model in a local folder, as anybody's would lie there."""
    torch.manual_seed(0)
    info = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
    llama().build(info).save_pretrained(tmp_path / "mine")
    llama().tokenizer(["some words to learn", "from a few texts"]).save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture(scope="session")
def warm() -> Warm:
    """A process that has the heavy imports done, whose forks are commands."""
    return Warm()


@pytest.fixture
def command(warm: Warm, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line from an empty folder, as a user does; in a Python of its own where `env` is about Python."""

    def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": HERE["PYTHONPATH"], "COLUMNS": "120", **(env or {})}
        if not any(name.startswith("PYTHON") for name in env or {}):
            return warm.run(words, tmp_path, variables)
        python = [sys.executable, "-m", "unlearnbench", *words]
        return subprocess.run(python, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run
