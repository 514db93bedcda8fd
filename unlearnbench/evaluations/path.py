"""Path: what happens between the original and the unlearned model, and where should the method have stopped?

The unlearning is repeated with its own seed, and the model is scored after some of its steps, on retain, forget, test
and validation. Two rules then pick a point of the path. One looks at forget and validation rows alone, as the rewinding
of SCRUB+R does (Kurmanji et al., NeurIPS 2023, arXiv:2302.09880): it stops where the model is to forget rows as the
original is to rows that it never saw,

    stopped = arg min over the points of u,   u = sup over x of |F_forget(x) - F_unseen(x)|

with F_forget the distribution of the point's losses on forget, and F_unseen that of the original's on validation,
weighted to forget's mix of labels. SCRUB+R compares two errors; but a model that still knows half of forget and spoils
the other half has the right error too. Its reference is the last student's validation; but a student that is spoiled
everywhere treats all rows alike. Where all rows of some classes go, no validation row is like them: a model that never
saw a class gets it wrong, so u is then the accuracy on forget, and of equal values the point with the lowest validation
loss is taken. The other rule, `best`, knows the retrained models: it is the point with the smallest mean gap. Null: a
retrained model never saw forget, as the original never saw validation, so that its u is about .87 sqrt(1/n + 1/m) for n
forget and m validation rows; `unlike_unseen` of retrained shows it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import BySplit, Floats, Scores
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics.stopping import best, by_chance, distance, mixed_like
from unlearnbench.plots.path import Trail, draw
from unlearnbench.ranges import Several
from unlearnbench.stages.path import Repeated, Spacing, watched
from unlearnbench.stages.score import Score
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.stages.world import World

COMPARED = ("retain", "forget", "test")
"""The splits whose mean absolute gap to the retrained models is the mean gap."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """Look at the model after up to `points` steps, the end included; say where a rule would have stopped."""

    points: Several
    spacing: Spacing
    stopping: Literal["match_validation", "none"]
    headline: ClassVar[tuple[Column, ...]] = (Column("stop_gain", "forget"),)
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (Column("stopped_at", "forget"),)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the repeated unlearning, and the scoring of each role on validation, if there is any."""
        assert isinstance(models.unlearned, Unlearn)
        repeated: dict[str, Stage] = {"path": Repeated(models.unlearned, self.points, self.spacing)}
        validation = watched(world).get("validation")
        if validation is None:
            return repeated
        bench = world.bench.unwritten
        return repeated | {role: Score(bench, model, "validation", validation) for role, model in models.roles()}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return the numbers of each point, of where the rules stop, and what stopping there would have gained.

        `unlike_unseen`, on forget: how unlike unseen rows forget rows are, u above. In [0, 1]; 0 is perfect, and
        `unlike_by_chance` is what it stays below in 95 of 100 pairs of samples of one distribution: where the original
        is below that, the rule has nothing to go by. `mean_gap`: the mean absolute difference to the retrained models
        in accuracy on retain, forget and test, in [0, 1]; 0 is perfect. `stop_gain`, of the unlearned model on forget:
        its mean gap less that of the stopped one, in [-1, 1]; 0 is perfect, and above it the method went on for too
        long. `stopped_at`: the share of the steps after which the rule stops, in [0, 1]; 1 is perfect. Without answer
        options, exact memorisation takes the place of accuracy.
        """
        walk = walked(found, self.stopping)
        for point in walk.points:
            yield from walk.rows(point, f"unlearned_step_{point.name}")
        if walk.unlike is not None and found.models.retrained:
            known = [walk.unlike(one) for one in walk.retrained]
            yield Row("retrained", "forget", "unlike_unseen", float(np.mean(known)))
        if walk.chance:
            yield Row("unlearned", "forget", "unlike_by_chance", walk.chance)
        stopped = walk.stopped
        if stopped is not None:
            yield from walk.rows(stopped, "unlearned_stopped")
            yield Row("unlearned", "forget", "stopped_at", stopped.steps / walk.points[-1].steps)
        gaps = [walk.gap(point) for point in walk.points]
        if gaps[-1] is not None:
            yield Row("unlearned", "forget", "mean_gap", gaps[-1])
        if walk.best is not None:
            yield from walk.rows(walk.best, "unlearned_best")
        if stopped is not None and (gap := walk.gap(stopped)) is not None and gaps[-1] is not None:
            yield Row("unlearned", "forget", "stop_gain", gaps[-1] - gap)

    def details(self, found: Found) -> dict[str, Any]:
        """Return what result.json says of the path: steps, examples and seconds of each point, and the two stops."""
        walk = walked(found, self.stopping)
        return {
            **{name: [getattr(point, name) for point in walk.points] for name in ("steps", "examples", "seconds")},
            "stopped": None if walk.stopped is None else walk.stopped.steps,
            "best": None if walk.best is None else walk.best.steps,
            "says": walk.words(),
            "repeats": walk.repeats,
        }

    def draw(self, found: Found, folder: pathlib.Path) -> None:
        """Write plots/path.png."""
        walk = walked(found, self.stopping)
        places = {id(point): place for place, point in enumerate(walk.points)}
        trail = Trail(
            steps=[point.steps for point in walk.points],
            rates={split: [point.rate(split) for point in walk.points] for split in walk.points[0].right},
            retrained=[{split: point.rate(split) for split in point.right} for point in walk.retrained],
            stopped=None if walk.stopped is None else places[id(walk.stopped)],
            best=None if walk.best is None else places[id(walk.best)],
            rate=walk.metric.replace("_", " "),
            spaced=self.spacing,
            words=walk.words(),
        )
        draw(folder / "path.png", trail)


@dataclass(frozen=True, eq=False)
class Point:
    """A model of the path, or one to compare with: which of its rows are right, (n,), and their losses, by split."""

    name: str
    steps: int
    examples: int
    seconds: float
    right: Mapping[str, Floats]
    loss: Mapping[str, Floats]

    def rate(self, split: str) -> float:
        """Return the accuracy on a split, or without answer options the exact memorisation."""
        return float(self.right[split].mean())


Unlike = Callable[[Point], float]


@dataclass(frozen=True, eq=False)
class Walk:
    """A path, the retrained models beside it, and where it should have stopped.

    `unlike` is u, None where no rows are like the forgotten ones; `chance` is what u of two samples of one distribution
    hardly exceeds, 0 where u compares no samples. `why_not` is why there is no stop, or "".
    """

    metric: str
    points: tuple[Point, ...]
    retrained: tuple[Point, ...]
    unlike: Unlike | None
    chance: float
    why_not: str
    repeats: bool

    @property
    def stopped(self) -> Point | None:
        """Where the rule stops that sees forget and validation."""
        if self.why_not or self.unlike is None:
            return None
        held = "validation" if "validation" in self.points[0].loss else "retain"
        harm = [float(point.loss[held].mean()) for point in self.points]
        return self.points[best([self.unlike(point) for point in self.points], harm)]

    @property
    def best(self) -> Point | None:
        """Where to stop with hindsight: the first point with the smallest mean gap."""
        gaps = [gap for point in self.points if (gap := self.gap(point)) is not None]
        return self.points[int(np.argmin(gaps))] if gaps and self.ends_there else None

    @property
    def ends_there(self) -> bool:
        """Whether the method's result is where its last step led, so that stopping before it would make sense."""
        return self.why_not not in (ELSEWHERE, NO_STEPS)

    def gap(self, point: Point) -> float | None:
        """Return a point's mean absolute gap to the retrained models; None without any."""
        if not self.retrained:
            return None
        wanted = {split: np.mean([one.rate(split) for one in self.retrained]) for split in COMPARED}
        return float(np.mean([abs(point.rate(split) - wanted[split]) for split in COMPARED]))

    def rows(self, point: Point, role: str) -> Iterator[Row]:
        """Yield the numbers of a point under a role."""
        for split in point.right:
            yield Row(role, split, self.metric, point.rate(split))
            yield Row(role, split, "loss", float(point.loss[split].mean()))
        yield Row(role, "forget", "steps", float(point.steps))
        yield Row(role, "forget", "examples", float(point.examples))
        if self.unlike is not None:
            yield Row(role, "forget", "unlike_unseen", self.unlike(point))
        gap = self.gap(point)
        if gap is not None:
            yield Row(role, "forget", "mean_gap", gap)

    def words(self) -> str:
        """Return what there is to say of the stop."""
        if self.stopped is None or self.unlike is None:
            return f"No stopping point: {self.why_not}."
        last, first = self.points[-1], self.unlike(self.points[0])
        found = f"Forget is least unlike unseen rows after step {self.stopped.steps} of {last.steps}"
        if self.best is not None:
            there, end, best = map(self.gap, (self.stopped, last, self.best))
            found += f": mean gap {there:.3f} there, {end:.3f} at the end, {best:.3f} at best (step {self.best.steps})"
        if first < self.chance:
            found += f". But the original's {first:.2f} may be chance (up to {self.chance:.2f}): this says little"
        return f"{found}."


NO_RULE = "no rule was asked for"
NO_STEPS = "the method takes no steps on the model"
ELSEWHERE = "the method's result is not where its last step led, so the points before are not what it would return"
UNMATCHED = "no validation rows are like the forgotten ones"


def walked(found: Found, stopping: str) -> Walk:
    """Return the path of a finished run."""
    facts = found.artefact("path").facts
    unlike, chance = _unlike(found)
    reasons = {
        NO_STEPS: not facts["total"], ELSEWHERE: not facts["ends_there"], NO_RULE: stopping == "none",
        UNMATCHED: unlike is None,
    }  # fmt: skip
    return Walk(
        metric=found.scores["original"]["forget"].right[0],
        points=tuple(_points(found)),
        retrained=tuple(
            _point(role, _scores(found, role)) for role in found.scores if role.startswith("retrained")
        ),
        unlike=unlike,
        chance=chance,
        why_not=next((reason for reason, holds in reasons.items() if holds), ""),
        repeats=bool(facts["repeats"]),
    )  # fmt: skip


def _points(found: Found) -> Iterator[Point]:
    """Yield the original, what was seen on the way, and the unlearned model."""
    artefact = found.artefact("path")
    facts, tensors = artefact.facts, {name: one.numpy() for name, one in artefact.tensors.items()}
    yield _point("0", _scores(found, "original"))
    splits = [name.removesuffix("_right") for name in tensors if name.endswith("_right")]
    for place, steps in enumerate(facts["steps"]):
        right, loss = ({split: tensors[f"{split}_{what}"][place] for split in splits} for what in ("right", "loss"))
        yield Point(str(steps), steps, facts["examples"][place], facts["seconds"][place], right, loss)
    in_all = (facts["total"], facts["examples_in_all"], facts["seconds_in_all"])
    yield _point("end", _scores(found, "unlearned"), *in_all)


def _point(name: str, scores: BySplit, steps: int = 0, examples: int = 0, seconds: float = 0.0) -> Point:
    """Return a point from scores."""
    right = {split: one.right[1] for split, one in scores.items()}
    return Point(name, steps, examples, seconds, right, {split: one.loss for split, one in scores.items()})


def _scores(found: Found, role: str) -> BySplit:
    """Return a role's scores on the splits of the path."""
    scores: dict[str, Scores] = {split: found.scores[role][split] for split in COMPARED}
    return {**scores, "validation": found.read(role)} if role in found.stages else scores


def _unlike(found: Found) -> tuple[Unlike | None, float]:
    """Return u, a function of a point, and what chance makes of it; None where no rows are like the forgotten ones."""
    splits, task = found.world.splits, found.world.bench.task
    forget = found.scores["original"]["forget"].label
    options = found.world.bench.info.has_options
    if splits.validation_retain is not None:  # whole values go: of classes no label is left, of columns nobody knows
        gone = options and not np.isin(forget, task.answers(splits.retain)).any()
        return (lambda point: point.rate("forget")) if gone else None, 0.0
    if "original" not in found.stages:
        return None, 0.0
    unseen = found.read("original")
    validation = unseen.label
    if not options:
        forget, validation = np.zeros_like(forget), np.zeros_like(validation)
    same = np.isin(forget, validation)
    if not same.any():
        return None, 0.0
    weight = mixed_like(validation, forget[same])
    chance = by_chance(int(same.sum()), weight)
    return (lambda point: distance(point.loss["forget"][same], unseen.loss, weight)), chance
