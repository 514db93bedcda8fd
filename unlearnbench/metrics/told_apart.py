"""How well an attack's score tells forget rows from held-out rows, for each role, with gaps to the retrained models.

Rows carry the attack's name in front: <attack>_auc, and <attack>_tpr_fpr_01 and _001, the share of members found where
1 % or .1 % of the held-out rows are called members too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean

from unlearnbench.evidence import BySplit, Floats, Scores
from unlearnbench.metrics.attack import area_under_curve
from unlearnbench.metrics.likelihood import rates
from unlearnbench.metrics.measure import Row
from unlearnbench.metrics.membership import held_out_like

PLACED = 16
"""The most retrained models that are put in the unlearned model's place for a floor."""

Told = Mapping[str, float]
Sides = tuple[Floats, Floats]
"""A number for each forget row and for each held-out row of the same kind."""
Signal = Callable[[Scores], Floats]
Referenced = Callable[[Sides, Sequence[Sides]], Sides]
"""The scores of a model's two sides, by its signals and those of models that never saw either side."""


def told_apart(members: Floats, others: Floats) -> dict[str, float]:
    """Return the area under the curve, and the share of members found at 1 % and .1 % false alarms.

    All in [0, 1]; higher says that members are told better. A share is left out where there are fewer others than one
    false alarm takes: 100 and 1,000. Members that look alike get auc .5; their share at a false alarms in n others is
    (a + 1) / (n + 1) in the mean, a little above a / n.
    """
    shares = {f"tpr_{name}": share for name, share in rates(members, others)}
    return {"auc": area_under_curve(members, others), **shares}


def sides(signal: Signal, scores: BySplit, whole_class: bool) -> Sides:
    """Return a signal of the forget rows, (n,), and of the held-out rows of the same kind, (m,)."""
    return signal(scores["forget"]), signal(held_out_like(scores, whole_class))


def alone(
    name: str,
    signal: Signal,
    original: BySplit,
    retrained: Sequence[BySplit],
    unlearned: BySplit,
    whole_class: bool,
) -> Iterator[Row]:
    """Yield what a score that needs no other model tells; `signal` is higher for members."""
    return by_model(
        name, lambda scores: told_apart(*sides(signal, scores, whole_class)), original, retrained, unlearned
    )


def by_model(
    name: str,
    of: Callable[[BySplit], Told],
    original: BySplit,
    retrained: Sequence[BySplit],
    unlearned: BySplit,
) -> Iterator[Row]:
    """Yield what is told of each model by `of`, which looks at no other model of the run.

    gap_ is unlearned less the mean of the retrained models, floor_ the mean difference of two of those.
    """
    targets = [of(scores) for scores in retrained]
    apart = [{key: abs(one[key] - other[key]) for key in one} for one, other in combinations(targets, 2)]
    yield from _rows(name, of(original), targets, of(unlearned), apart)


def leave_one_out(
    name: str,
    attack: Referenced,
    signal: Signal,
    original: BySplit,
    retrained: Sequence[BySplit],
    unlearned: BySplit,
    whole_class: bool,
) -> Iterator[Row]:
    """Yield what an attack tells that compares a model with others which never saw the forget rows.

    Every retrained model is attacked with the other ones as references, which is the target. The unlearned model and
    the original are attacked with these same sets, so nothing but the model differs: gap_ is 0 in the mean for a model
    that is like a retrained one. floor_ is the mean |gap| of retrained models put in the unlearned model's place, and
    needs three.
    """
    before, after, *others = (sides(signal, scores, whole_class) for scores in (original, unlearned, *retrained))
    targets, found = _against(attack, after, others)
    apart = []
    for place in range(min(len(others), PLACED) if len(others) > 2 else 0):
        expected, placed = _against(attack, others[place], others[:place] + others[place + 1 :])
        apart.append({key: abs(value - _mean(expected)[key]) for key, value in _mean(placed).items()})
    yield from _rows(name, _mean(_against(attack, before, others)[1]), targets, _mean(found), apart)


def _against(attack: Referenced, subject: Sides, references: list[Sides]) -> tuple[list[Told], list[Told]]:
    """Return what is told of each reference by the other ones, and of the subject by these same others."""
    targets: list[Told] = []
    found: list[Told] = []
    for place, reference in enumerate(references):
        others = references[:place] + references[place + 1 :]
        targets.append(told_apart(*attack(reference, others)))
        found.append(told_apart(*attack(subject, others)))
    return targets, found


def _mean(several: Sequence[Told]) -> dict[str, float]:
    return {key: fmean(one[key] for one in several) for key in several[0]}


def _rows(
    name: str, original: Told, retrained: Sequence[Told], unlearned: Told, apart: Sequence[Told]
) -> Iterator[Row]:
    """Yield the numbers of all roles on forget, with gaps and floors where there are retrained models."""
    target, floor = (_mean(several) if several else {} for several in (retrained, apart))
    for key in unlearned:
        yield Row("original", "forget", f"{name}_{key}", original[key])
        if target:
            yield Row("retrained", "forget", f"{name}_{key}", target[key])
        yield Row("unlearned", "forget", f"{name}_{key}", unlearned[key])
        if target:
            yield Row("unlearned", "forget", f"gap_{name}_{key}", unlearned[key] - target[key])
        if floor:
            yield Row("retrained", "forget", f"floor_{name}_{key}", floor[key])
