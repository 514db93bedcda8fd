"""Unlearning: a method, applied to a copy of the model that has learned too much."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import nn

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Artefact
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import Progress, Quiet
from unlearnbench.models import weights
from unlearnbench.models.four_bit import copied
from unlearnbench.models.modes import needs_company
from unlearnbench.models.start import adapter_of, trainable
from unlearnbench.models.weightless import weightless
from unlearnbench.models.wrapper import inner
from unlearnbench.problem import Method, Problem
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.stages.trained import Made, built, kept
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record
from unlearnbench.training.watch import Look, Watch

if TYPE_CHECKING:
    from unlearnbench.stages.world import World


@dataclass(frozen=True, eq=False)
class Unlearn(Stage):
    """The method applied to a copy of `original`, which is the model before this request."""

    original: Model
    world: World
    method: Method
    recipe: Recipe
    role: str = "unlearned"
    kind: ClassVar[str] = "unlearn"

    @property
    def label(self) -> str:
        """The role."""
        return self.role

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """What the original needs."""
        return needed_by(self.original)

    @property
    def models(self) -> tuple[Model, ...]:
        """The original."""
        return (self.original,)

    @property
    def settings(self) -> tuple[object, ...]:
        """Seed, model, task, the method with its values, the recipe of the original, and the rows it may see."""
        bench, splits = self.world.bench, self.world.splits
        rows = tuple(bench.print(index) for index in (splits.retain, splits.forget, splits.steering))
        method = (type(self.method).__module__, self.method, bench.plugin_of(self.method))
        return (self.original.key, rows, method, self.recipe, self.seed, bench.setting)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the method's, the task's and the model's."""
        return (__name__, type(self.method).__module__, *self.world.bench.modules)

    @property
    def like(self) -> str:
        """One method with one setting on about as many rows takes about as long."""
        rows = round(math.log2(len(self.world.all)))
        return digest(self.kind, self.world.bench.setting, type(self.method).__module__, self.method, rows)[:16]

    @property
    def seed(self) -> int:
        """The seed of the method's stage."""
        return stage_seed(self.world.unlearn_seed, "unlearned")

    @property
    def prompts(self) -> bool:
        """Whether the method may leave a prompt, or a filter, around the model."""
        return bool(getattr(self.method, "wraps", False))

    def compute(self, workshop: Workshop) -> Artefact:
        """Apply the method."""
        return kept(self, self.world.bench, workshop, lambda progress: self.made(workshop, progress))

    def made(self, workshop: Workshop, progress: Progress, at: Collection[int] = (), look: Look | None = None) -> Made:
        """Apply the method to a copy of the original; call `look` after the steps in `at`, which changes nothing."""
        record = Record()
        student, reference = self._student(workshop)
        watch = Watch(type(inner(student)), at, look)
        model = applied(self.method, student, self.problem(reference, record, progress, watch))
        changed = weights.differ(inner(model), reference)
        return Made(model, record, on_parent=inner(model) is student, changed=changed, steps=watch.steps)

    def build(self, workshop: Workshop) -> nn.Module:
        """Build the model from its artefact, and from the original where an adapter was trained on that."""
        return built(workshop.artefact(self), self.world.bench, lambda: workshop.model(self.original))

    def why_not(self) -> str | None:
        """Return why the method cannot run here, as it says itself; raise UserError where its batches are too small."""
        if getattr(self.original, "prompts", False):
            return (
                "the request before this one leaves the weights as they are, with a prompt or a filter around the "
                "model; try one request, or a method that changes weights"
            )
        bench = self.world.bench

        def fresh() -> nn.Module:
            with seeded("alone"):
                return bench.spec.build(bench.info)

        check_alone(self.method, self.recipe, bench.info, fresh, len(self.world.splits.forget))
        check = getattr(self.method, "check", None)
        if check is None:
            return None

        def outline() -> nn.Module:
            with weightless():
                return bench.spec.build(bench.info)

        model = bench.once("outline", outline)  # methods look at its layers, and leave it as it is
        return cast("str | None", check(self.problem(model, Record(), Quiet())))

    def problem(self, reference: nn.Module, record: Record, progress: Progress, watch: Watch | None = None) -> Problem:
        """Return what the method sees."""
        bench, splits = self.world.bench, self.world.splits
        return Problem(
            task=bench.task,
            info=bench.info,
            retain=splits.retain,
            forget=splits.forget,
            validation=splits.steering,
            reference=reference,
            spec=bench.spec,
            recipe=self.recipe,
            seed=self.seed,
            record=record,
            progress=progress,
            twins=bench.data.corrected,
            watch=watch,
        )

    def _student(self, workshop: Workshop) -> tuple[nn.Module, nn.Module]:
        """Return a model for the method, and the frozen reference: a copy of it, or itself without its adapter."""
        spec = self.world.bench.spec
        if adapter_of(spec) is None:
            model = workshop.model(self.original)
            return copied(model).requires_grad_(True), copied(model).requires_grad_(False)
        from unlearnbench.models.adapter import AdapterOff

        original = workshop.take(self.original)
        with seeded(self.seed, "adapter"):
            student: Any = trainable(spec, original)
        return student, AdapterOff(student)


def applied(method: Method, student: nn.Module, problem: Problem) -> nn.Module:
    """Apply a method to its own copy of the model under the problem's seed; return the result in evaluation mode."""
    with seeded(problem.seed):
        model = method(student, problem).eval()
    if inner(model) is not model and not getattr(method, "wraps", False):
        raise TypeError(f"{type(method).__name__} leaves a wrapper around the model: it must declare wraps = True")
    return model


def check_alone(
    method: Method, recipe: Recipe, info: DataInfo, build: Callable[[], nn.Module], forget: int | None = None
) -> None:
    """Raise UserError where a step would see one image alone, and the model's batch norm cannot learn from one.

    `build` returns a model of this kind that may be changed; it is called only where a step sees one image. `forget` is
    the number of images to forget, if it is known.
    """
    trains = getattr(method, "batch_norm", "frozen") == "train"
    single = forget == 1 and trains and getattr(method, "forget_alone", False)
    if single and needs_company(build, info.shape):
        raise UserError(
            "the forget set is one image, and the method trains on it alone: in training, batch norm cannot learn from "
            "one image of this size alone.\nTry: method.batch_norm=frozen, or method=finetune"
        )
    sizes = {"train.batch_size": recipe.batch_size, "train.optimizer.micro_batch": recipe.optimizer.micro_batch}
    if trains:
        own = getattr(method, "optimizer", None)
        sizes |= {"method.batch_size": getattr(method, "batch_size", None)}
        sizes |= {"method.optimizer.micro_batch": getattr(own, "micro_batch", None)}
    alone = [key for key, size in sizes.items() if size == 1]
    if alone and needs_company(build, info.shape):
        raise UserError(
            f"{alone[0]}=1: in training, batch norm cannot learn from one image of this size alone.\n"
            f"Try: {alone[0]}=2" + (", or method.batch_norm=frozen" if alone[0].startswith("method") else "")
        )
