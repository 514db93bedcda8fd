"""The stages of an experiment: what each one computes, and what its key is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from unlearnbench.contracts import Data, Index
from unlearnbench.data.sampling import units
from unlearnbench.errors import Diverged, UserError
from unlearnbench.evidence import Scores
from unlearnbench.forget.splits import Splits
from unlearnbench.graph.cache import Artefact, Cache, Stage
from unlearnbench.graph.keys import CORE, MODELS, TASKS, describe, digest, sources
from unlearnbench.machine import provenance
from unlearnbench.machine.devices import on_cuda
from unlearnbench.models import checkpoint, start, weights
from unlearnbench.models.four_bit import copied
from unlearnbench.models.modes import needs_company
from unlearnbench.models.prefix import inner
from unlearnbench.models.start import adapter_of, incompetent, is_four_bit, is_pretrained, started, trainable
from unlearnbench.problem import Problem
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.request import plugins
from unlearnbench.tasks import bind
from unlearnbench.training.fit import fit
from unlearnbench.training.progress import Progress, Quiet, stage_progress
from unlearnbench.training.record import Record
from unlearnbench.training.resume import Resumable

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment

log = logging.getLogger("unlearnbench")

INCOMPETENT = 3
"""Random networks that ZRF averages over."""


class Skipped(Exception):
    """A method that says it cannot run on this problem, and why."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A model of some role by its key; `stage` is None for random networks, which are built and not trained."""

    role: str
    key: str
    stage: Stage | None
    build: Callable[[], nn.Module]

    @property
    def longer(self) -> int:
        """By how many tokens the model's prompt, where it has one, lengthens a sequence."""
        return weights.lengthened(self.stage.artefact.tensors) if self.stage is not None else 0


@dataclass(frozen=True, eq=False)
class Made:
    """What a stage made: a model, how its training went, whether its adapter (if any) stands on the parent's weights.

    `changed` says whether the weights differ from the original's.
    """

    model: nn.Module
    record: Record
    on_parent: bool = True
    changed: bool = True


class Stages:
    """The arrows of the picture in experiment.py, for one experiment."""

    def __init__(self, experiment: Experiment, cache: Cache, data: Data, splits: Splits) -> None:
        self.experiment, self.cache, self.data, self.splits = experiment, cache, data, splits
        limits = (experiment.eval_batch, experiment.eval_generate)
        self.task = bind(data, splits.retain, experiment.dataset, experiment.precision, experiment.model, *limits)
        self._built: dict[str, nn.Module] = {}
        self._prints: dict[bytes, str] = {}
        self._extra_tasks: dict[str, Any] = {}
        model = experiment.model
        written = experiment.eval_generate if data.info.kind == "text" else 0
        longest = cast(Any, self.task).longest_answer if written else 0
        self._scoring = (experiment.eval_batch, written, longest)
        on_device = on_cuda(experiment.precision.device) and experiment.deterministic  # elsewhere it changes nothing
        numbers = (experiment.precision, on_device)
        setting = (start.model_without_checkpoint(model), self.task.settings(), *numbers)
        self._setting = describe(setting)  # once: the files of weights are not looked at again for each key
        self._source = (sources((*CORE, *TASKS[data.info.kind], type(model).__module__)), _plugin(model))

    def check(self) -> None:
        """Raise Skipped where the method says that it cannot run here: before anything is trained."""
        self._check_alone()
        check = getattr(self.experiment.method, "check", None)
        if check is None:
            return
        with torch.device("meta"):
            model = self.experiment.model.build(self.data.info)
        seed = stage_seed(self.experiment.seed, "unlearned")
        reason = check(self._problem(model, seed, Record(), Quiet()))
        if reason:
            raise Skipped(reason)

    def _check_alone(self) -> None:
        """Raise UserError where a step would see one image alone, and the model's batch norm cannot learn from one."""
        recipe, method = self.experiment.recipe, self.experiment.method
        sizes = {"train.batch_size": recipe.batch_size, "train.optimizer.micro_batch": recipe.optimizer.micro_batch}
        if getattr(method, "batch_norm", "frozen") == "train":
            own = getattr(method, "optimizer", None)
            sizes |= {"method.batch_size": getattr(method, "batch_size", None)}
            sizes |= {"method.optimizer.micro_batch": getattr(own, "micro_batch", None)}
        alone = [key for key, size in sizes.items() if size == 1]
        if not alone or self.data.info.kind != "image":
            return
        with seeded("alone"):
            model = self.experiment.model.build(self.data.info)
        if needs_company(model, self.data.info.shape):
            raise UserError(
                f"{alone[0]}=1: in training, batch norm cannot learn from one image of this size alone.\n"
                f"Try: {alone[0]}=2" + (", or method.batch_norm=frozen" if alone[0].startswith("method") else "")
            )

    def prepare(self, extra: Mapping[str, Data]) -> None:
        """Encode further evaluation sets of text; raise UserError for what cannot be, before anything is trained."""
        for name, data in extra.items():
            self._extra_tasks[name] = cast(Any, self.task).on(data)

    def original(self) -> Trained:
        """The model before unlearning: trained on retain and forget, or the user's own checkpoint."""
        experiment = self.experiment
        if experiment.model.checkpoint is not None:
            log.info("the original is your checkpoint; retrained follows train's recipe: gaps assume it trains as well")
            parts: tuple[object, ...] = (self._setting, experiment.model.checkpoint, len(self.data.info.classes))
            return self._trained("original", parts, lambda key, _progress: self._from_checkpoint())
        train = np.union1d(self.splits.retain, self.splits.forget)
        return self._training("original", train, self.splits.validation, (experiment.seed, "original"))

    def retrained(self, number: int) -> Trained:
        """A reference that never saw the forget set, nor its like in validation: same recipe, another seed."""
        names = (self.experiment.seed, "retrained", number)
        return self._training(f"retrained_{number}", self.splits.retain, self.splits.steering, names)

    def random(self, number: int) -> Trained:
        """A network that knows nothing of the data: with random weights, or a language model's pretrained ones."""
        names = (self.experiment.seed, "incompetent", number)
        key = digest("incompetent", names, self._setting, len(self.data.info.classes), self._source)

        def build() -> nn.Module:
            with seeded(*names):
                return self.task.prepare(incompetent(self.experiment.model, self.data.info)).eval()

        return Trained(f"incompetent_{number}", key, None, build)

    def incompetent(self) -> tuple[Trained, ...]:
        """The networks that ZRF compares with: three random ones, or the one pretrained model before fine-tuning."""
        alone = self.data.info.kind == "text" and is_pretrained(self.experiment.model)
        return tuple(self.random(number) for number in range(1 if alone else INCOMPETENT))

    def unlearned(self, original: Trained) -> Trained:
        """The method applied to a copy of the original; raise Skipped where it says that it cannot run."""
        experiment, splits = self.experiment, self.splits
        seed = stage_seed(experiment.seed, "unlearned")
        method_source = (sources((type(experiment.method).__module__, *MODELS)), _plugin(experiment.method))
        data = tuple(self._print(index) for index in (splits.retain, splits.forget, splits.steering))
        method = (type(experiment.method).__module__, experiment.method)
        parts = (original.key, data, method, experiment.recipe, seed, method_source, self._source, self._setting)

        def compute(_key: str, progress: Progress) -> Made:
            record = Record()
            student, reference = self._student(original, seed)
            problem = self._problem(reference, seed, record, progress)
            with seeded(seed):
                model = experiment.method(student, problem).eval()
            own = inner(model) is student
            return Made(model, record, on_parent=own, changed=weights.differ(inner(model), reference))

        return self._trained("unlearned", parts, compute, original)

    def scores(self, model: Trained, split: str, index: Index) -> Scores:
        """The model's outputs on a split, one forward pass, or none where they are known."""
        limit = self.experiment.eval_limit
        if limit is not None and limit < len(index):
            index = units(index, self.data.unit, limit, "scored", split)
        rows = (self._print(index), self.task.shortened(index, model.longer) if model.longer else ())
        parts = (model.key, rows, self._setting, self._source, self._scoring)

        def compute(_key: str) -> Artefact:
            scores = self.task.score(self.model(model), index)
            if np.isnan(scores.logits).any() or np.isposinf(scores.logits).any():
                raise Diverged(0, model.role)
            return Artefact(scores.tensors(), {"split": split})

        return Scores.from_tensors(self.cache.stage(f"scores_{model.role}_{split}", parts, compute).artefact.tensors)

    def extra(self, model: Trained, name: str, data: Data) -> Scores:
        """The model's outputs on a further evaluation set of text that `prepare` was given."""
        task = self._extra_tasks[name]
        cut = (task.shortened(data.test), task.encoder.limit.tokens if model.longer else None)
        rows = (data.fingerprint(data.test), cut)
        parts = (model.key, "extra", name, rows, self._setting, self._source, self.experiment.eval_batch)

        def compute(_key: str) -> Artefact:
            return Artefact(task.score(self.model(model), data.test).tensors(), {"split": name})

        return Scores.from_tensors(self.cache.stage(f"scores_{model.role}_{name}", parts, compute).artefact.tensors)

    def model(self, trained: Trained) -> nn.Module:
        """Return the model in evaluation mode on the device; the same object at each call: copy it to change it."""
        if trained.key not in self._built:
            self._built[trained.key] = trained.build()
        return self._built[trained.key]

    def release(self, trained: Trained) -> None:
        """Let a model go that is not needed again soon: at most a few are in memory at a time."""
        self._built.pop(trained.key, None)

    def _problem(self, reference: nn.Module, seed: int, record: Record, progress: Progress) -> Problem:
        experiment, splits = self.experiment, self.splits
        return Problem(
            task=self.task,
            info=self.data.info,
            retain=splits.retain,
            forget=splits.forget,
            validation=splits.steering,
            reference=reference,
            spec=experiment.model,
            recipe=experiment.recipe,
            seed=seed,
            record=record,
            progress=progress,
            twins=self.data.corrected,
        )

    def _student(self, original: Trained, seed: int) -> tuple[nn.Module, nn.Module]:
        """Return a model for the method, and the frozen reference: a copy of it, or itself without its adapter."""
        if adapter_of(self.experiment.model) is None:
            reference = copied(self.model(original)).requires_grad_(False)
            return copied(self.model(original)).requires_grad_(True), reference
        from unlearnbench.models.adapter import AdapterOff

        model = self.model(original)
        self.release(original)
        if original.stage is not None and not original.stage.artefact.facts["adapter"]:
            model = copied(model)  # the artefact holds these very weights, and merging changes them in place
        with seeded(seed, "adapter"):
            student: Any = trainable(self.experiment.model, model)
        return student, AdapterOff(student)

    def _training(self, role: str, index: Index, validation: Index, names: tuple[str | int, ...]) -> Trained:
        experiment = self.experiment
        seed = stage_seed(*names)
        parts = (seed, self._setting, experiment.recipe, self._print(index), self._print(validation), self._source)

        def compute(key: str, progress: Progress) -> Made:
            here = provenance.circumstances(experiment.precision)
            record, state = Record(), Resumable(self.cache.unfinished(key), circumstances=here)
            with seeded(seed):
                model = self.task.prepare(started(experiment.model, self.data.info))
                model = trainable(experiment.model, model)
                fit(
                    model, self.task, index, validation, experiment.recipe,
                    seed=seed, record=record, progress=progress, resume=state.resume, save=state.save,
                )  # fmt: skip
            return Made(model, record, on_parent=is_pretrained(experiment.model))  # random weights must be kept too

        return self._trained(role, parts, compute)

    def _trained(
        self,
        role: str,
        parts: tuple[object, ...],
        compute: Callable[[str, Progress], Made],
        parent: Trained | None = None,
    ) -> Trained:
        """Run a stage that makes a model; what it makes of an adapter is kept apart from the weights beneath it."""

        def artefact(key: str) -> Artefact:
            here = provenance.circumstances(self.experiment.precision)
            with stage_progress(role.replace("_", " ")) as progress:
                try:
                    made = compute(key, progress)
                except Diverged as error:
                    raise Diverged(error.step, role) from error
            is_adapter = made.on_parent and weights.has_adapter(made.model)
            state = weights.state_of(made.model) if is_adapter else {}
            self._built[key] = weights.merged(made.model).eval()
            facts = {
                "curve": made.record.curve,
                "tables": made.record.tables,
                "examples": made.record.examples,
                "adapter": is_adapter,
                "weights_changed": made.changed,
                **_spent(made.record, here),
            }
            return Artefact(state or weights.state_of(self._built[key]), facts)

        stage = self.cache.stage(role, parts, artefact)
        return Trained(role, stage.key, stage, lambda: self._load(stage.artefact, parent))

    def _load(self, artefact: Artefact, parent: Trained | None) -> nn.Module:
        """Build the model that an artefact holds: an adapter is merged into the parent, or the pretrained model."""
        spec, info = self.experiment.model, self.data.info
        if artefact.facts.get("adapter"):
            beneath = started(spec, info) if parent is None else copied(self.model(parent))
            model = weights.restore(trainable(spec, self.task.prepare(beneath)), artefact.tensors)
            return weights.merged(model).eval()
        beneath = started(spec, info) if is_four_bit(spec) else spec.build(info)
        return self.task.prepare(weights.restore(beneath, artefact.tensors)).eval()

    def _from_checkpoint(self) -> Made:
        path = self.experiment.model.checkpoint
        assert path is not None
        model = self.experiment.model.build(self.data.info)
        checkpoint.load(model, path)
        return Made(self.task.prepare(model), Record())

    def _print(self, index: Index) -> str:
        name = index.tobytes()
        if name not in self._prints:
            self._prints[name] = digest(self.data.fingerprint(index), self.task.shortened(index))
        return self._prints[name]


def _spent(record: Record, here: Mapping[str, Any]) -> dict[str, Any]:
    """Return what says how a stage's seconds came about: in which circumstances, and what of them was validation."""
    return {
        "validation_seconds": record.validation_seconds,
        "earlier_seconds": record.earlier.seconds,
        "earlier_peak_mib": record.earlier.peak_mib,
        "circumstances": [*record.earlier.circumstances, here],
    }


def _plugin(part: object) -> object:
    """Describe the code of the plugin that a part of the experiment comes from: nothing for a part of ours."""
    return describe(plugins.code_of(type(part).__module__))
