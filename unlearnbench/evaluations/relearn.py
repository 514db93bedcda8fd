"""Relearn: how fast does what was unlearned come back?

Deeb, Roger: Do Unlearning Methods Remove Information from Language Model Weights?, arXiv:2410.08827. A model is trained
on one half of the forget rows, and the other half is scored after 0, 1, 2, 4 ... steps. One that never knew them gains
there only what the halves share, so the retrained model is the control. With m(s) the share of right answers on the
half that is held back, and the mean over seeds, each with halves and batches of its own:

    relearn_area = mean of m over log2 s, from the first step to the last; gap_relearn_area = unlearned less retrained
    relearn_speed = steps(unlearned) / steps(retrained), the steps until m reaches (m_original(0) + m_retrained(0)) / 2

`teach` says what the model is trained on: half of forget, or as many rows that are not to be forgotten. `retain` rows
were seen by all models, `benign` (validation) rows by none: Hu, Fu, Wu, Smith: Unlearning or Obfuscating?, ICLR 2025,
arXiv:2406.13356, bring knowledge back by harmless text.

Differences: the authors sweep learning rates and epochs (`ft.lrs`, `ft.epochs_lst` in their pipeline.py) and take the
most that is recovered. We train all with the recipe of the original, at its highest learning rate throughout, and use
the whole curve: the best of many is a maximum over noise.

Null: a model from the distribution of retrained has a gap of 0 (`floor_relearn_area` is how far two retrained models
are apart) and a speed of 1.

What is around a model (a prompt, a filter) stays there while the weights inside are trained, and does not learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, by_role
from unlearnbench.evaluations.halves import halves
from unlearnbench.evidence import Floats, Scores
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import Progress, bar
from unlearnbench.models.modes import needs_company
from unlearnbench.models.start import trainable
from unlearnbench.models.wrapper import Wrapper
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.ranges import Count
from unlearnbench.stages.of_model import OfModel
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.stepper import Stepper

if TYPE_CHECKING:
    from unlearnbench.stages.bench import Bench
    from unlearnbench.stages.world import World

On = Literal["forget", "retain", "benign"]


@dataclass(frozen=True, kw_only=True)
class Relearn:
    """Train every model on half of the forget rows; score the other half after 0, 1, 2, 4 ... steps.

    The kinds of rows that it is trained on are `teach`; of others than forget, as many rows. A `batch_size` or
    `optimizer` of null is the recipe's.
    """

    teach: tuple[On, ...]
    steps: Annotated[int, Field(ge=1, le=2**16)]
    seeds: Annotated[int, Field(ge=1, le=100)]
    batch_size: Count | None
    optimizer: Optimizer | None
    headline: ClassVar[tuple[Column, ...]] = (Column("gap_relearn_area", "forget"),)
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (Column("relearn_gain", "forget"),)

    def __post_init__(self) -> None:
        if not self.teach or len(set(self.teach)) < len(self.teach):
            raise ValueError("teach: expected one or several of forget, retain and benign, each once")

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return one relearning per role, kind of rows and seed."""
        recipe = models.recipe
        optimizer = self.optimizer or replace(recipe.optimizer, schedule="none", warmup=0.0)
        optimizer = replace(optimizer, max_steps=self.steps)
        size = self.batch_size or recipe.batch_size
        found: dict[str, Stage] = {}
        for seed in range(self.seeds):
            taught, held = _halves(world, seed)
            drawn = stage_seed(world.eval_seed, "relearn", seed)
            _refuse_alone(world.bench, min(size, len(taught)))
            for on in self.teach:
                rows = taught if on == "forget" else _others(world, on, len(taught), seed)
                for role, model in models.roles():
                    found[f"{role}_{on}_{seed}"] = Relearning(
                        world.bench, model, rows, held, on, seed, drawn, size, optimizer
                    )
        return found

    def measure(self, found: Found) -> Iterable[Row]:
        """Return the accuracy on the held half by step, and how the unlearned model's compares with retrained.

        `relearn_area`, of every role on forget: the mean height of its curve, in [0, 1]; perfect is the retrained
        models' value. `gap_relearn_area`, in [-1, 1]: 0 is perfect, above it the model still knew. `relearn_speed`: the
        steps that it needs until half of the original's lead over retrained is back, over those that retrained needs,
        in [0, 2 * steps]; 1 is perfect, below it the model is faster. It has no value where the original has no lead.
        Where half never comes back, the number of steps counts as twice the last. Without retrained models there is
        `relearn_gain`, in [-1, 1]: the mean of its curve after the first step, less its value before. Other rows than
        forget's are in the names (relearn_area_retain). Without answer options, exact memorisation takes the place of
        accuracy.
        """
        name = "accuracy" if found.world.bench.info.has_options else "exact_memorisation"
        marks = marks_up_to(self.steps)
        for on, curves in self._curves(found).items():
            kind = "" if on == "forget" else f"_{on}"
            for role, curve in curves.items():
                for step, value in zip(marks, curve.tolist(), strict=True):
                    yield Row(f"{role}_relearned_{on}_{step}", "forget_held", name, value)
            areas = {role: area(marks, curve) for role, curve in curves.items()}
            yield from by_role(f"relearn_area{kind}", "forget", areas)
            if (ratio := speed(marks, curves)) is not None:
                yield Row("unlearned", "forget", f"relearn_speed{kind}", ratio)
            if found.models.unreferenced:
                curve = curves["unlearned"]
                yield Row("unlearned", "forget", f"relearn_gain{kind}", areas["unlearned"] - float(curve[0]))

    def draw(self, found: Found, folder: Path) -> None:
        """Draw the curves of all roles, one panel per kind of rows."""
        from unlearnbench.plots import audits

        name = "accuracy" if found.world.bench.info.has_options else "exact memorisation"
        audits.relearning(folder / "relearning.png", marks_up_to(self.steps), self._curves(found), name)

    def _curves(self, found: Found) -> dict[str, dict[str, Floats]]:
        """Return the mean curves over seeds by kind of rows and role, (marks,) each."""
        return {
            on: {
                role: np.mean(
                    [found.artefact(f"{role}_{on}_{seed}").facts["right"] for seed in range(self.seeds)], axis=0
                )
                for role, _ in found.models.roles()
            }
            for on in self.teach
        }


def marks_up_to(steps: int) -> tuple[int, ...]:
    """Return the steps after which a model is scored: 0, then the powers of two below `steps`, then the last."""
    return (0, *(2**power for power in range(steps.bit_length()) if 2**power < steps), steps)


def area(marks: tuple[int, ...], curve: Floats) -> float:
    """Return the mean height of a curve (marks,) over log2 of the steps, from the first step on."""
    if len(marks) == 2:
        return float(curve[1])
    place = np.log2(np.array(marks[1:], dtype=np.float64))
    return float(np.trapezoid(curve[1:], place) / (place[-1] - place[0]))


def speed(marks: tuple[int, ...], curves: Mapping[str, Floats]) -> float | None:
    """Return the steps until half of the original's lead over retrained is back: unlearned's over retrained's.

    None where the original has no lead, or nothing was retrained.
    """
    retrained = [curve for role, curve in curves.items() if role.startswith("retrained")]
    if not retrained:
        return None
    control = np.mean(retrained, axis=0)
    level = float(curves["original"][0] + control[0]) / 2
    if curves["original"][0] <= control[0]:
        return None
    return _steps_until(level, marks, curves["unlearned"]) / _steps_until(level, marks, control)


def _steps_until(level: float, marks: tuple[int, ...], curve: Floats) -> int:
    reached = np.flatnonzero(curve >= level)
    return marks[reached[0]] if len(reached) else 2 * marks[-1]


def _refuse_alone(bench: Bench, size: int) -> None:
    """Raise UserError where a step would see one image, from which the model's batch norm cannot learn."""
    if size == 1 and needs_company(lambda: bench.spec.build(bench.info), bench.info.shape):
        raise UserError(
            "eval=relearn would train on one image at a time, from which batch norm cannot learn.\n"
            "Try: a larger forget set or eval.relearn.batch_size, or eval=[standard]"
        )


def _halves(world: World, seed: int) -> tuple[Index, Index]:
    """Return the forget rows that are taught again and those that are held back."""
    if len(world.splits.forget) < 2:
        raise UserError(
            "eval=relearn teaches half of the forget rows and scores the other: one row is too few.\n"
            "Try: a larger forget set, or eval=[standard]"
        )
    return halves(world.splits.forget, world.bench.data.unit, world.eval_seed, "relearn", seed)


def _others(world: World, on: On, count: int, seed: int) -> Index:
    """Draw as many rows that are not to be forgotten: of retain, or of what no model was trained on."""
    rows = world.splits.retain if on == "retain" else world.splits.steering
    if not len(rows):
        raise UserError(
            "eval.relearn.teach=[benign] trains on validation rows, and there are none.\n"
            "Try: 'eval.relearn.teach=[retain]'"
        )
    drawn = np.random.default_rng(stage_seed(world.eval_seed, "relearn", on, seed)).permutation(rows)[:count]
    return np.sort(drawn)


@dataclass(frozen=True, eq=False)
class Relearning(OfModel):
    """A copy of a model, trained on the rows at `taught`; what it gets right of those at `held` is kept, by step."""

    taught: Index
    held: Index
    on: On
    number: int
    seed: int
    batch_size: int
    optimizer: Optimizer
    kind: ClassVar[str] = "relearn"

    @property
    def label(self) -> str:
        """The role, relearning."""
        return f"{self.model.role} relearning on {self.on}, {self.number}"

    @property
    def settings(self) -> tuple[object, ...]:
        """Seed, model, task, batches, optimiser and the rows."""
        bench = self.bench
        rows = (bench.print(self.taught), bench.print(self.held))
        scored = (bench.batch, self.limit)
        return (self.model.key, self.seed, bench.setting, self.batch_size, self.optimizer, rows, scored)

    def compute(self, workshop: Workshop) -> Artefact:
        """Train the copy; keep what is right of the held rows, and their loss."""
        model = workshop.take(self.model)
        with seeded(self.seed, "adapter"):
            student = _weights_alone(trainable(self.bench.spec, model))
        with seeded(self.seed), bar(self.label) as progress:
            scores = list(self._scores(student, progress))
        return Computed(
            {},
            {
                "right": [float(one.right[1].mean()) for one in scores],
                "loss": [float(one.loss.mean()) for one in scores],
            },
        )

    def _scores(self, student: nn.Module, progress: Progress) -> Iterator[Scores]:
        """Train, and yield the scores of the held rows before it and after each of the marks."""
        task, steps = self.bench.unwritten.task, self.optimizer.max_steps or 1
        marks = marks_up_to(steps)
        batches = Batches(task, (self.taught,), self.batch_size, steps, self.seed)
        stepper = Stepper(student, self.optimizer, steps, task.head, progress=progress)

        def loss(batch: Batch) -> Tensor:
            return cross_entropy(task.predict(student, batch))

        yield task.score(student.eval(), self.held)
        while stepper.steps < steps:
            with closing(stepper.epoch(batches)) as epoch:
                for some in epoch:
                    stepper.step(loss, *some)
                    if stepper.steps in marks:
                        yield task.score(student, self.held)


def _weights_alone(model: nn.Module) -> nn.Module:
    """Return the model with what is around it frozen: learnt embeddings are not taught."""
    for one in model.modules():
        if isinstance(one, Wrapper):
            for parameter in one.parameters(recurse=False):
                parameter.requires_grad_(False)
    return model
