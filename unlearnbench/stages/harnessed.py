"""A model's results on tasks of EleutherAI's lm-evaluation-harness, run in this process on the model in memory.

lm-eval is imported here alone, and only when a run asks for it. Its task files can run code, so tasks come from the
installed package, never from a folder: `root` replaces their data, not what is asked.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from unlearnbench.errors import UserError, nearest
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.modes import evaluating
from unlearnbench.randomness import seeded
from unlearnbench.stages.of_model import OfModel
from unlearnbench.tasks.kinds import text_task

if TYPE_CHECKING:
    from unlearnbench.tasks.text import TextTask

EXTRA = "Try: pip install 'unlearnbench[eval]'"
ENDINGS = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
SEED = 1234
"""lm-eval's own seed of examples and ties, the same for every model."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked: tasks by lm-eval's names, of each at most `limit` questions behind `shots` examples.

    `shots` null is what each task's file says, and `batch` how many answers are scored at once. `root` holds a folder
    of data for each task, by split.
    """

    tasks: tuple[str, ...]
    limit: int | None
    shots: int | None
    chat: bool
    batch: int
    root: Path | None

    def files(self) -> dict[str, dict[str, list[Path]]]:
        """Return the files of local data by task and split; empty without a root."""
        if self.root is None:
            return {}
        found: dict[str, dict[str, list[Path]]] = {task: {} for task in self.tasks}
        for task in self.tasks:
            files = sorted(file for file in (self.root / task).glob("*") if file.suffix in ENDINGS)
            for file in files:  # several of one split are its shards: test-00000-of-00002.parquet
                found.setdefault(task, {}).setdefault(file.stem.partition("-")[0], []).append(file)
        return found

    def specs(self) -> list[Any]:
        """Return the tasks as lm-eval takes them: names, or one group whose tasks read local files."""
        return list(self.tasks) if self.root is None else [{"group": "local", "task": self.local()}]

    def local(self) -> list[Any]:
        """Return the tasks as lm-eval takes them, each reading its local files."""
        local: list[Any] = []
        for task, files in self.files().items():
            kind = ENDINGS[next(iter(files.values()))[0].suffix]
            data = {"data_files": {split: [str(file) for file in shards] for split, shards in files.items()}}
            local.append({"task": task, "dataset_path": kind, "dataset_name": None, "dataset_kwargs": data})
        return local


@cache
def task_manager() -> Any:
    """Return lm-eval's index of its own tasks; reading its thousands of files takes seconds, so once a process."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def check(asked: Asked) -> None:
    """Raise UserError where lm-eval is missing, does not know a task, or local data are not there or not sound."""
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"eval=harness needs lm-eval, which is not installed.\n{EXTRA}")
    manager = task_manager()
    for task in asked.tasks:
        if task not in manager.all_tasks:
            close = nearest(task, manager.all_tasks)
            raise UserError(f"eval.harness.tasks: lm-eval has no task {task!r}.{close}\nTry: `lm-eval ls tasks`")
        if asked.root is not None and task not in manager.all_subtasks:
            raise UserError(
                f"eval.harness.tasks: {task} is a group of tasks, and eval.harness.root holds data by task.\n"
                "Try: the names of its tasks, such as wmdp_bio, or eval.harness.root=null"
            )
    for task, files in asked.files().items():
        if not files:
            raise UserError(
                f"eval.harness.root={asked.root} has no data for {task}.\n"
                f"Try: {asked.root}/{task}/test.jsonl (or .json, .parquet), and dev.jsonl where a task shows examples; "
                "or eval.harness.root=null, for the hub's"
            )
        kinds = sorted({ENDINGS[file.suffix] for shards in files.values() for file in shards})
        if len(kinds) > 1:
            raise UserError(
                f"eval.harness.root={asked.root} has files of several kinds for {task}: {', '.join(kinds)}.\n"
                "Try: all of its files in one format"
            )
    if asked.root is not None:
        _read_local(asked)


@cache
def _read_local(asked: Asked) -> None:
    with _own_randomness(), _quiet():
        read_local(asked, task_manager())


def read_local(asked: Asked, manager: Any) -> None:
    """Load local data and build every question of them; raise UserError for what lm-eval cannot do that with.

    What it raises then is about the data: JSON that ends too early, a split that is missing, a column that a task's
    template names. It has no class of its own for these, so any error counts.
    """
    for task, spec in zip(asked.tasks, asked.local(), strict=True):
        try:
            for one in manager.load([{"group": "local", "task": [spec]}])["tasks"].values():
                if asked.shots is not None and one.get_config("num_fewshot") != 0:  # as simple_evaluate does
                    one.set_config(key="num_fewshot", value=asked.shots)
                one.set_fewshot_seed(seed=SEED)
                one.build_all_requests(limit=asked.limit)
        except Exception as error:
            raise UserError(
                f"eval.harness.root={asked.root}: lm-eval cannot use the data of {task}. {_said(error)}\n"
                f"Try: in {asked.root}/{task} a file for each split that the task names (test.jsonl, and dev.jsonl for "
                "examples), one question a row, with the columns of its data on the hub"
            ) from error


def _said(error: BaseException) -> str:
    """Return the first line of each error that led to this one, with its class, the latest last."""
    first = (str(error) or "no message").strip().splitlines()[0]
    own = f"{type(error).__name__}: {first}"
    return own if error.__cause__ is None else f"{_said(error.__cause__)}; {own}"


@dataclass(frozen=True, eq=False)
class Harnessed(OfModel):
    """The numbers that lm-eval gives a model: metrics by task, and by group of tasks."""

    asked: Asked
    kind: ClassVar[str] = "harness"

    @property
    def label(self) -> str:
        """The role, and what is asked."""
        return f"{self.model.role} on {', '.join(self.asked.tasks)}"

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, what is asked with the content of local data, and lm-eval's version."""
        asked = self.asked
        what = (asked.tasks, asked.limit, asked.shots, asked.chat, asked.batch, asked.files(), version("lm_eval"))
        return (self.model.key, self.bench.setting, self.bench.task.limit, what)

    def compute(self, workshop: Workshop) -> Artefact:
        """Run the harness; raise UserError where a task's data cannot be loaded."""
        task, model = text_task(self.bench.task), workshop.model(self.model)
        with evaluating(model), torch.inference_mode(), task.autocast(), _own_randomness(), _quiet():
            results = _results(model, task, self.asked)
        return Computed({}, {"results": numbers(results)})


def numbers(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return lm-eval's numbers by task and metric, without standard errors; a filter other than none is named."""
    found: dict[str, dict[str, float]] = {}
    for task, values in results.items():
        for name, value in values.items():
            metric, _, of = name.partition(",")
            if isinstance(value, (int, float)) and of and not metric.endswith("_stderr"):
                found.setdefault(task, {})[metric if of == "none" else f"{metric}_{of}"] = float(value)
    return found


def _results(model: torch.nn.Module, task: TextTask, asked: Asked) -> Mapping[str, Mapping[str, Any]]:
    from datasets.exceptions import DatasetsError
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    tokenizer = copy.deepcopy(task.encoder.tokenizer)  # lm-eval sets its padding
    judged = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=asked.batch, max_length=task.limit, truncation=True)
    try:
        found = simple_evaluate(
            model=judged, tasks=asked.specs(), task_manager=task_manager(), num_fewshot=asked.shots, limit=asked.limit,
            bootstrap_iters=0, log_samples=False, apply_chat_template=asked.chat,
            random_seed=SEED, numpy_random_seed=SEED, torch_random_seed=SEED, fewshot_random_seed=SEED,
        )  # fmt: skip
    except (OSError, DatasetsError) as error:  # data that are neither here nor on the hub, or damaged
        raise UserError(
            f"eval=harness: the data of {', '.join(asked.tasks)} cannot be loaded. {_said(error)}\n"
            "Try: eval.harness.root=FOLDER with the data in FOLDER/TASK/test.jsonl"
        ) from error
    everything: Mapping[str, Mapping[str, Any]] = found["results"]
    return {name: values for name, values in everything.items() if name != "local"}


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Give Python's, numpy's and torch's global generators back as they were: lm-eval seeds them."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with seeded("harness"):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's remarks to itself: they are about its command line."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
