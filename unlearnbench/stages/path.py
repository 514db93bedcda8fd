"""The path of an unlearning: the same unlearning once more, with a look at the model after some of its steps."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.data.sampling import units
from unlearnbench.errors import Diverged
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.keys import digest
from unlearnbench.graph.stage import Model, Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import bar
from unlearnbench.models import weights
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.training.stepper import clock

if TYPE_CHECKING:
    from unlearnbench.stages.world import World

log = logging.getLogger("unlearnbench")

Spacing = Literal["even", "log"]
"""How the steps that are looked at are spread: evenly, or each a constant factor after the one before."""


@dataclass(frozen=True, eq=False)
class Repeated(Stage):
    """What the model was like at up to `points` - 1 steps of an unlearning before the last: right or wrong, and loss.

    No weights are kept. `unlearned` is repeated with its own seed; its first pass says how many steps there are.
    """

    unlearned: Unlearn
    points: int
    spacing: Spacing
    kind: ClassVar[str] = "path"

    @property
    def label(self) -> str:
        """The role's path."""
        return f"path of {self.unlearned.role}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The unlearning, and what the original needs."""
        return (self.unlearned, *needed_by(self.unlearned.original))

    @property
    def models(self) -> tuple[Model, ...]:
        """The original."""
        return (self.unlearned.original,)

    @property
    def settings(self) -> tuple[object, ...]:
        """The unlearning, the steps, the task and the rows."""
        bench = self.unlearned.world.bench
        rows = [bench.print(index) for index in watched(self.unlearned.world).values()]
        return (self.unlearned.key, self.points, self.spacing, bench.setting, bench.batch, rows)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, and those of the unlearning."""
        return (__name__, *self.unlearned.modules)

    @property
    def like(self) -> str:
        """One unlearning with as many looks takes about as long."""
        return digest(self.kind, self.unlearned.like, self.points)[:16]

    def compute(self, workshop: Workshop) -> Artefact:
        """Repeat the unlearning; keep what each look saw. Without steps there is nothing to look at."""
        first = workshop.artefact(self.unlearned)
        total = int(first.facts["steps"])
        looks = _Looks(self.unlearned.world, total)
        in_all = {f"{what}_in_all": first.facts[what] for what in ("examples", "seconds")}
        facts = {"total": total, **in_all, "repeats": True, "ends_there": True}
        if total:
            at = {total, *between(total, self.points, self.spacing)}
            with bar(self.label) as progress:
                made = self.unlearned.made(workshop, progress, at, looks.look)
            facts["seconds_in_all"] = time.perf_counter() - looks.started - looks.looked_for
            facts["ends_there"] = looks.last == fingerprint(weights.state_of(made.model))
            model = made.model if first.facts["adapter"] else weights.merged(made.model)
            facts["repeats"] = fingerprint(weights.state_of(model)) == fingerprint(first.tensors)
            if not facts["repeats"]:
                log.warning(
                    "%s: the repeated unlearning ends with other weights than the run's own, so its path is that of a "
                    "sister run. Try: deterministic=true, and one kind of machine", self.label,
                )  # fmt: skip
        found = {name: torch.from_numpy(np.stack(rows)) for name, rows in looks.rows.items()}
        return Computed(found, {**facts, "steps": looks.steps, "examples": looks.examples, "seconds": looks.seconds})


@dataclass(eq=False)
class _Looks:
    """What is seen of a model that learns; `last` is the fingerprint of its weights after the last of `total` steps.

    `seconds` are those of the unlearning, without the ones that were `looked_for`.
    """

    world: World
    total: int
    steps: list[int] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    last: str = ""
    looked_for: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def look(self, model: nn.Module, steps: int, examples: int) -> None:
        """Score the rows; after the last step, note the weights instead."""
        if steps == self.total:
            self.last = fingerprint(weights.state_of(model))
            return
        now = clock(model)
        self.steps.append(steps)
        self.examples.append(examples)
        self.seconds.append(now - self.started - self.looked_for)
        task = self.world.bench.unwritten.task
        for split, index in watched(self.world).items():
            scores = task.score(model, index)
            if np.isnan(scores.logits).any() or np.isposinf(scores.logits).any():
                raise Diverged(steps, "unlearned")
            self.rows.setdefault(f"{split}_right", []).append(scores.right[1])
            self.rows.setdefault(f"{split}_loss", []).append(scores.loss)
        self.looked_for += clock(model) - now


def between(total: int, points: int, spacing: Spacing) -> list[int]:
    """Return the steps to look at before the last of `total`: with that one, at most `points` of them."""
    parts = [number / points for number in range(1, points)]
    steps = {round(total * part if spacing == "even" else total**part) for part in parts}
    return sorted(step for step in steps if 0 < step < total)


def watched(world: World) -> dict[str, Index]:
    """Return the rows to look at: the splits that a run scores, and validation without forgotten classes."""
    splits, limit, validation = dict(world.scored()), world.bench.limit, world.splits.steering
    if limit is not None and limit < len(validation):
        validation = units(validation, world.bench.data.unit, limit, "scored", "validation")
    return {**splits, "validation": validation} if len(validation) else splits


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, to the bit."""
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
