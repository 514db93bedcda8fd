"""The stages of an experiment: what each one computes, and what its key is made of."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.cache import Artefact, Cache, Stage
from unlearnbench.errors import Diverged
from unlearnbench.evidence import Scores
from unlearnbench.forget import Splits
from unlearnbench.keys import digest, sources
from unlearnbench.models import checkpoint, masks
from unlearnbench.problem import Data, Index, Problem
from unlearnbench.progress import Progress, stage_progress
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.resume import Resumable
from unlearnbench.tasks import bind
from unlearnbench.training import Record, fit

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment

log = logging.getLogger("unlearnbench")

CORE = tuple(f"unlearnbench.{name}" for name in ("training", "losses", "problem", "randomness", "stages"))


class Skipped(Exception):
    """A method that says it cannot run on this problem, and why."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A model of some role by its key; `stage` is None for random networks, which are built and not trained."""

    role: str
    key: str
    stage: Stage | None
    build: Callable[[], nn.Module]


class Stages:
    """The arrows of the picture in experiment.py, for one experiment."""

    def __init__(self, experiment: Experiment, cache: Cache, data: Data, splits: Splits) -> None:
        self.experiment, self.cache, self.data, self.splits = experiment, cache, data, splits
        head, batch = experiment.model.parts().head, experiment.eval_batch
        self.task = bind(data, experiment.dataset, experiment.precision, head, batch)
        self._built: dict[str, nn.Module] = {}
        self._prints: dict[bytes, str] = {}
        model = experiment.model
        self._setting = (model_without_checkpoint(model), self.task.settings(), experiment.precision)
        self._source = sources((*CORE, type(model).__module__, type(self.task).__module__))

    def original(self) -> Trained:
        """The model before unlearning: trained on retain and forget, or the user's own checkpoint."""
        experiment = self.experiment
        if experiment.model.checkpoint is not None:
            log.info("the original is your checkpoint; retrained follows train's recipe: gaps assume it trains as well")
            parts: tuple[object, ...] = (self._setting, experiment.model.checkpoint, len(self.data.info.classes))
            return self._trained("original", parts, lambda key, _progress: self._from_checkpoint())
        train = np.union1d(self.splits.retain, self.splits.forget)
        return self._training("original", train, (experiment.seed, "original"))

    def retrained(self, number: int) -> Trained:
        """A reference that never saw the forget set: the original's recipe, a seed of its own."""
        return self._training(f"retrained_{number}", self.splits.retain, (self.experiment.seed, "retrained", number))

    def random(self, number: int) -> Trained:
        """A network with random weights, the incompetent one of ZRF."""
        names = (self.experiment.seed, "incompetent", number)
        key = digest("incompetent", names, self._setting, len(self.data.info.classes), self._source)

        def build() -> nn.Module:
            with seeded(*names):
                return self.task.prepare(self.experiment.model.build(self.data.info)).eval()

        return Trained(f"incompetent_{number}", key, None, build)

    def unlearned(self, original: Trained) -> Trained:
        """The method applied to a copy of the original; raise Skipped where it says that it cannot run."""
        experiment, splits = self.experiment, self.splits
        seed = stage_seed(experiment.seed, "unlearned")
        method_source = sources((type(experiment.method).__module__, "unlearnbench.models.masks"))
        data = tuple(self._print(index) for index in (splits.retain, splits.forget, splits.validation))
        method = (type(experiment.method).__module__, experiment.method)
        parts = (original.key, data, method, experiment.recipe, seed, method_source, self._source, self._setting)

        def compute(_key: str, progress: Progress) -> tuple[nn.Module, Record]:
            record = Record()
            problem = Problem(
                task=self.task,
                info=self.data.info,
                retain=splits.retain,
                forget=splits.forget,
                validation=splits.validation,
                reference=copy.deepcopy(self.model(original)).requires_grad_(False),
                spec=experiment.model,
                recipe=experiment.recipe,
                seed=seed,
                record=record,
                progress=progress,
            )
            check = getattr(experiment.method, "check", None)
            reason = check(problem) if check else None
            if reason:
                raise Skipped(reason)
            student = copy.deepcopy(self.model(original)).requires_grad_(True)
            with seeded(seed):
                return experiment.method(student, problem).eval(), record

        return self._trained("unlearned", parts, compute)

    def scores(self, model: Trained, split: str, index: Index) -> Scores:
        """The model's outputs on a split, one forward pass, or none where they are known."""
        limit = self.experiment.eval_limit
        if limit is not None and limit < len(index):
            generator = np.random.default_rng(stage_seed("scored", split))
            index = np.sort(generator.permutation(index)[:limit])
        parts = (model.key, self._print(index), self._setting, self.experiment.eval_batch, self._source)

        def compute(_key: str) -> Artefact:
            scores = self.task.score(self.model(model), index)
            if np.isnan(scores.logits).any() or np.isposinf(scores.logits).any():
                raise Diverged(0)
            rows = {"logits": scores.logits, "label": scores.label, "index": scores.index}
            return Artefact({name: torch.from_numpy(array) for name, array in rows.items()}, {"split": split})

        tensors = self.cache.stage(f"scores_{model.role}_{split}", parts, compute).artefact.tensors
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return Scores(arrays.pop("logits"), arrays.pop("label"), arrays.pop("index"), arrays)

    def model(self, trained: Trained) -> nn.Module:
        """Return the model in evaluation mode on the device; the same object at each call: copy it to change it."""
        if trained.key not in self._built:
            self._built[trained.key] = trained.build()
        return self._built[trained.key]

    def _training(self, role: str, index: Index, names: tuple[str | int, ...]) -> Trained:
        experiment, validation = self.experiment, self.splits.validation
        seed = stage_seed(*names)
        parts = (seed, self._setting, experiment.recipe, self._print(index), self._print(validation), self._source)

        def compute(key: str, progress: Progress) -> tuple[nn.Module, Record]:
            record, state = Record(), Resumable(self.cache.unfinished(key))
            with seeded(seed):
                model = self.task.prepare(experiment.model.build(self.data.info))
                fit(
                    model,
                    self.task,
                    index,
                    validation,
                    experiment.recipe,
                    seed=seed,
                    record=record,
                    progress=progress,
                    resume=state.resume,
                    save=state.save,
                )
            return model, record

        return self._trained(role, parts, compute)

    def _trained(
        self, role: str, parts: tuple[object, ...], compute: Callable[[str, Progress], tuple[nn.Module, Record]]
    ) -> Trained:
        def artefact(key: str) -> Artefact:
            with stage_progress(role.replace("_", " ")) as progress:
                model, record = compute(key, progress)
            self._built[key] = model.eval()
            return Artefact(model.state_dict(), {"curve": record.curve, "examples": record.examples})

        stage = self.cache.stage(role, parts, artefact)
        return Trained(role, stage.key, stage, lambda: self._load(stage.artefact.tensors))

    def _load(self, state: Mapping[str, Tensor]) -> nn.Module:
        model = self.experiment.model.build(self.data.info)
        masks.restore(model, state)
        model.load_state_dict(state)
        return self.task.prepare(model).eval()

    def _from_checkpoint(self) -> tuple[nn.Module, Record]:
        path = self.experiment.model.checkpoint
        assert path is not None
        model = self.experiment.model.build(self.data.info)
        checkpoint.load(model, path)
        return self.task.prepare(model), Record()

    def _print(self, index: Index) -> str:
        name = index.tobytes()
        if name not in self._prints:
            self._prints[name] = self.data.fingerprint(index)
        return self._prints[name]


def model_without_checkpoint(model: object) -> object:
    """Return the model's configuration as a retrained model has it: a checkpoint is the original's alone."""
    return dataclasses.replace(model, checkpoint=None)  # type: ignore[type-var]
