"""Compute the metrics of a run again from its stored scores alone, and compare them with its rows.

What needs more than scores (models, their training, the data) stays as it was reported, and is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.evidence import BySplit, Evidence, Scores
from unlearnbench.files import stored, sums
from unlearnbench.metrics import Metric, catalogue
from unlearnbench.metrics.attack import by_svc
from unlearnbench.metrics.measure import Row, Values, measure
from unlearnbench.metrics.membership import SHARES
from unlearnbench.metrics.unreferenced import unreferenced
from unlearnbench.report import facts as typed
from unlearnbench.report.facts import Facts
from unlearnbench.report.scores import load
from unlearnbench.results.folder import read_config
from unlearnbench.results.rows import read_metrics

if TYPE_CHECKING:
    import pandas

TOLERANCE = 1e-6
"""How far a number may be from its row, and from 1 on as a share of it: sums are rounded differently elsewhere."""
FITTED_TOLERANCE = 0.02
"""The same for attacks that are fitted to scores: another machine may call a few rows otherwise."""
FITTED = frozenset({one.name for one in SHARES if one.attack is by_svc} | {"mia_auc", "mia_accuracy"})
BEFORE = re.compile(r"^(gap_held_out_|gap_|floor_|p_|change_)")
"""The beginning of a metric's name in rows that compare."""
ROLE = re.compile(r"(original|unlearned|retrained(?:_(?P<number>\d+))?|incompetent_(?P<network>\d+))_(?P<split>.+)")
STANDARD = "unlearnbench.evaluations.standard.Standard"
SHOWN = 3

Place = tuple[int, str, str, str]
"""Request, role, split and metric."""


@dataclass
class Compared:
    """What came of a run: how many numbers are as reported, what is wrong, and what could not be computed again."""

    run: str
    numbers: int = 0
    wrong: list[str] = field(default_factory=list)
    reported: Counter[str] = field(default_factory=Counter)
    farthest: float = 0.0


class NotStored(Exception):
    """An evaluation asks for more than scores."""


class _Absent:
    """Stands for what a bundle does not have: whoever looks at it needs more than scores."""

    def __getattr__(self, name: str) -> Any:
        raise NotStored(name)

    def __getitem__(self, name: str) -> Any:
        raise NotStored(name)


Known = dict[tuple[Any, ...], Values]
"""The numbers of originals and retrained models, which runs share."""


def compare(run: Path, known: Known, *, fitted: bool = True) -> Compared:
    """Compute a finished run's rows again; without `fitted` leave out the attacks that are fitted to scores."""
    found = Compared(run.name)
    facts = typed.read(run)
    rows = {place: value for place, value in _rows(read_metrics(run))}
    made: dict[Place, float] = {}
    try:
        for number, folder in _requests(run, facts):
            for row in _computed(run, folder, facts, known, fitted):
                made[number, row.role, row.split, row.metric] = row.value
    except (ValueError, UserError) as error:
        found.wrong.append(f"its metrics cannot be computed from its scores: {error}")
        return found
    for place, value in made.items():
        _compare(found, place, rows.get(place), value)
    found.reported = Counter(BEFORE.sub("", place[3]) for place in rows if place not in made)
    return found


def tolerance(metric: str, value: float) -> float:
    """Return how far a row may be from what the scores give."""
    fitted = BEFORE.sub("", metric) in FITTED
    return FITTED_TOLERANCE if fitted else TOLERANCE * max(1.0, abs(value))


def _compare(found: Compared, place: Place, row: float | None, value: float) -> None:
    request, role, split, metric = place
    where = f"{metric} of {role} on {split}" + (f", request {request}" if request > 1 else "")
    found.numbers += 1
    if row is None:
        found.wrong.append(f"{where} is not in metrics.csv; its scores give {value!r}")
    elif not abs(row - value) <= tolerance(metric, value):
        found.wrong.append(f"{where} is {row!r}; its scores give {value!r}")
    else:
        found.farthest = max(found.farthest, abs(row - value))


def _rows(table: pandas.DataFrame) -> Iterator[tuple[Place, float]]:
    columns = ("request", "role", "split", "metric", "value")
    for request, role, split, metric, value in zip(*(table[name] for name in columns), strict=True):
        yield (int(request), str(role), str(split), str(metric)), float(value)


def _requests(run: Path, facts: Facts) -> Iterator[tuple[int, Path]]:
    """Yield the number of each request and the folder of its scores."""
    earlier = sorted(int(one.name) for one in (run / "requests").glob("[0-9]*"))
    yield from ((number, run / "requests" / str(number)) for number in earlier)
    yield facts.requests, run


def _computed(run: Path, folder: Path, facts: Facts, known: Known, fitted: bool) -> Iterator[Row]:
    """Yield the rows of one request that its scores are enough for."""
    config = read_config(run)
    by_role = _scores(folder / "scores")
    retrained = tuple(scores for role, scores in by_role.items() if role.startswith("retrained"))
    networks = tuple(scores for role, scores in by_role.items() if role.startswith("incompetent"))
    if missing := {"original", "unlearned"} - by_role.keys():
        raise ValueError(f"there are none of {' and '.join(sorted(missing))}")
    whole_class = facts.forget.startswith("class:") if facts.whole_class is None else facts.whole_class
    seed = config.get("eval_seed")
    seed = facts.seed if seed is None else int(seed)
    asked = {name: one for name, one in (config.get("eval") or {}).items() if isinstance(one, dict)}
    if any(one.get("_target_") == STANDARD for one in asked.values()):
        original, unlearned = by_role["original"], by_role["unlearned"]
        metrics = tuple(_metrics(fitted, bool(networks)))
        once = _once(known, folder, (seed, whole_class, fitted))
        rows = measure(original, retrained, unlearned, networks, whole_class, seed, metrics, once)
        yield from rows
        if facts.references == 0:
            yield from unreferenced(rows, original, unlearned, whole_class, seed, metrics)
    further = _further(asked)
    for one in further:
        beside = one.beside(further) if hasattr(one, "beside") else one
        yield from _rows_of(beside, by_role, facts, whole_class)


def _metrics(fitted: bool, networks: bool) -> Iterator[Metric]:
    """Yield the metrics to compute; without `fitted` each attack by itself, since its function does them all."""
    alone = {one.name: one.of for one in SHARES}
    for one in catalogue():
        if (one.name.startswith("zrf") and not networks) or (one.name in FITTED and not fitted):
            continue
        yield (
            one
            if fitted or one.name not in alone
            else replace(one, function=_only(alone[one.name]), siblings=(one.name,))
        )


def _only(share: Callable[[Evidence], float]) -> Callable[[Evidence, str], float]:
    return lambda evidence, split: share(evidence)


def _once(known: Known, folder: Path, settings: tuple[Any, ...]) -> Callable[[str, Callable[[], Values]], Values]:
    """Return what computes the numbers of an original or a retrained model once for all runs with the same scores."""
    shared = tuple(sorted(shared_scores(folder).items()))

    def once(name: str, compute: Callable[[], Values]) -> Values:
        key = (name, shared, *settings)
        if key not in known:
            known[key] = compute()
        return known[key]

    return once


def shared_scores(folder: Path) -> dict[str, str]:
    """Return the sums of the scores in a run's folder that are not the unlearned model's own."""
    listed = stored.mapping(folder / sums.NAME) if (folder / sums.NAME).exists() else {str(folder): ""}
    return {name: str(one) for name, one in listed.items() if name.startswith("scores/") and "/unlearned_" not in name}


def _scores(folder: Path) -> dict[str, dict[str, Scores]]:
    """Return all stored scores by role and split, roles by their numbers."""
    found: dict[tuple[str, int], dict[str, Scores]] = {}
    for file in sorted(folder.glob("*.npz")):
        of = ROLE.fullmatch(file.stem)
        if of is None:
            continue
        try:
            scores = load(file)
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        role, number = of[1], int(of["number"] or of["network"] or 0)
        found.setdefault((role.rstrip("0123456789"), number), {})[of["split"]] = _checked(file.name, scores)
    return {role + (str(number) if role[-1] == "_" else ""): found[role, number] for role, number in sorted(found)}


def _checked(name: str, scores: Scores) -> Scores:
    """Return scores whose arrays fit together; raise ValueError for others."""
    rows = len(scores.logits)
    kinds = (scores.logits.dtype.kind, scores.label.dtype.kind, scores.index.dtype.kind)
    lengths = {len(one) for one in (scores.label, scores.index, *scores.extras.values()) if one.ndim}
    if scores.logits.ndim != 2 or lengths != {rows} or kinds not in (("f", "i", "i"), ("f", "i", "u")):
        raise ValueError(f"{name}: its arrays do not fit together")
    if rows and (scores.label.min() < 0 or scores.label.max() >= scores.logits.shape[1]):
        raise ValueError(f"{name} has labels beyond its {scores.logits.shape[1]} columns")
    return scores


def _further(asked: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return the evaluations of a run that can be built here, but the standard one."""
    from unlearnbench.request.config import build

    found = []
    for name, values in asked.items():
        if values.get("_target_") in (None, STANDARD):
            continue
        try:
            found.append(build(values, f"eval.{name}", "eval"))
        except UserError:  # of a plugin that is not here, or of another version: its rows are taken as reported
            continue
    return found


def _rows_of(evaluation: Any, by_role: Mapping[str, BySplit], facts: Facts, whole_class: bool) -> Iterator[Row]:
    """Yield the rows of an evaluation where stored scores are all that it looks at."""
    from unlearnbench.evaluations.evaluation import Found, Models

    absent: Any = _Absent()
    retrained = sum(role.startswith("retrained") for role in by_role)
    models = Models(absent, (absent,) * retrained, absent, facts.references == 0)
    found = Found(models, absent, by_role, absent, absent, absent, whole_class)
    try:
        rows = list(evaluation.measure(found))
    except (NotStored, KeyError):
        return
    yield from rows
