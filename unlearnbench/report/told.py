"""A run in words, for a reader who does not know the code: what was asked, what came of it, what stays unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from unlearnbench.errors import counted
from unlearnbench.report.facts import Facts

SPLITS = {"forget": "rows to forget", "retain": "rows to keep", "test": "rows that no model was trained on"}
KINDS = {
    "Random": "drawn at random", "ByClass": "all rows of {classes}", "Subclass": "all rows of a subclass",
    "Listed": "listed by id, path or position", "Given": "a set that comes with the data",
    "Poisoned": "the known part of rows with a planted trigger", 
    "Confused": "the known part of rows with swapped labels",
    "Worst": "chosen by trained models as hard to forget", "Hard": "chosen by trained models as hard to forget",
}  # fmt: skip
RIGHT = ("accuracy", "exact_memorisation")
"""The metrics that say which share of answers is right, the first that a run has."""


class Number(NamedTuple):
    """A metric on a split: its value for the three models, unlearned less retrained, how far two retrained differ."""

    split: str
    metric: str
    original: float | None
    retrained: float | None
    unlearned: float | None
    gap: float | None
    floor: float | None
    about: str
    unit: str
    ideal: float | None

    def values(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return self._asdict()


def request_text(forget: Mapping[str, Any], facts: Facts, rows: int) -> str:
    """Return what was asked, without names: a label may say whose rows they are."""
    if facts.requests > 1:
        return f"{counted(facts.requests, 'request')} one after the other, {counted(rows, 'row')} in all"
    kind = str(forget.get("_target_")).rpartition(".")[2]
    if kind == "Column":
        whole = forget.get("fraction") == 1
        how = f"{'all' if whole else 'a part of the'} rows with one value of the column {forget.get('column')}"
    else:
        classes = forget.get("classes")
        several = counted(len(classes), "class", "classes") if isinstance(classes, list) else "a class"
        how = KINDS.get(kind, "chosen by a plugin").format(classes=several)
    return f"{counted(rows, 'row')}: {how}"


def sentences(numbers: Sequence[Number], facts: Facts) -> Iterator[str]:
    """Yield what came of the run, a sentence or two for each split."""
    if not facts.weights_changed:
        yield "No weight of the model was changed: all that it learned from the rows is still in it."
    of = {(one.metric, one.split): one for one in numbers}
    metric = next((name for name in RIGHT if (name, "forget") in of), None)
    if metric is None:
        return
    for split, words in SPLITS.items():
        if (metric, split) in of:
            yield _sentence(of[metric, split], words, metric)
    auc = of.get(("mia_auc", "forget"))
    if auc is not None and auc.unlearned is not None:
        yardstick = f", after retraining {_rate(auc.retrained)}, which is the yardstick" if auc.retrained else ""
        yield (
            "Shown a row to forget and a row that no model was trained on, a simple attack on the loss tells them "
            f"apart in {_rate(auc.unlearned)} of cases (before {_rate(auc.original)}{yardstick}; guessing: half)."
            + _chance(auc)
        )


def warnings(facts: Facts) -> Iterator[str]:
    """Yield what a reader must know before the numbers, without advice for who runs the program."""
    if facts.premise is not None and not facts.premise.holds:
        yield (
            "There was little to forget: the original does not know the rows clearly better than a model that never "
            "saw them. So the numbers say little about forgetting."
        )
    if facts.premise is not None and facts.premise.degenerate:
        yield "Without the rows only one answer is left in the data, so the retrained model always gives that one."
    for remark in facts.remarks:
        said = remark.partition(" Try:")[0].removeprefix("PREMISE FAILS: ").rstrip(".")
        yield f"{said[:1].upper()}{said[1:]}."


def _sentence(one: Number, words: str, metric: str) -> str:
    what = "answers {} right" if metric == "accuracy" else "gives {} of the trained answers' words"
    said = f"Of {words}, the unlearned model {what.format(_rate(one.unlearned))}, the original {_rate(one.original)}"
    if one.retrained is None or one.unlearned is None or one.original is None:
        return f"{said}. What a model that never saw the rows to forget would do is unknown."
    said += f", and a model that never saw the rows to forget {_rate(one.retrained)}."
    apart, before = abs(one.unlearned - one.retrained), abs(one.original - one.retrained)
    points = f"{100 * apart:.1f} points"
    if one.floor is None:
        return f"{said} The unlearned model is {points} from that; how much of it is chance is unknown."
    if apart <= one.floor:
        return f"{said} The difference of {points} is no larger than between two such models ({100 * one.floor:.1f})."
    nearer = "nearer than" if apart < before else "no nearer than"
    return (
        f"{said} The difference of {points} is larger than between two such models ({100 * one.floor:.1f}), and "
        f"{nearer} before ({100 * before:.1f})."
    )


def _chance(one: Number) -> str:
    """Return whether the difference to retrained is larger than between two retrained models, where that is known."""
    if one.retrained is None or one.unlearned is None or one.floor is None:
        return ""
    apart = abs(one.unlearned - one.retrained)
    how = "no larger" if apart <= one.floor else "larger"
    points = f"The difference to the yardstick of {100 * apart:.1f} points"
    return f" {points} is {how} than between two such models ({100 * one.floor:.1f})."


def _rate(value: float | None) -> str:
    return "an unknown share" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def unknowns(facts: Facts) -> Iterator[str]:
    """Yield what this run cannot know, and why."""
    if facts.checkpoint is not None:
        yield (
            f"The original was brought by its owner, and nobody saw its training: {facts.checkpoint.text}. Rows that "
            "it saw beyond these are not forgotten."
        )
    if facts.base_note:
        yield f"{facts.base_note}."
    if facts.references == 0:
        yield (
            "No model was retrained without the rows. So it is unknown how a model that never saw them would answer, "
            "and whether too little or too much was forgotten."
        )
    if facts.references == 1:
        yield ("One model was retrained. How much two of them differ is unknown, so small differences say nothing.")
    yield (
        f"It is one run with one seed ({facts.seed}). Another seed gives other numbers, and how far they spread is not "
        "known from it."
    )
    if not facts.sha256:
        yield "The run did not record digests of weights and data."
