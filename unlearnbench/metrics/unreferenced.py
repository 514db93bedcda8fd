"""What can be said without a retrained model: how far from the original, and how unlike held-out rows."""

from __future__ import annotations

from collections.abc import Iterator

from unlearnbench.evidence import BySplit, Evidence
from unlearnbench.metrics import OPTIONS, Metric, numbers
from unlearnbench.metrics.divergence import js_bits
from unlearnbench.metrics.measure import Row
from unlearnbench.metrics.membership import held_out_like

HELD_OUT = ("accuracy", "loss", "answer_nll", "exact_memorisation", "extraction_strength", "rouge_l")
"""The metrics that are compared between forget and held-out rows."""


def unreferenced(
    rows: list[Row],
    original: BySplit,
    unlearned: BySplit,
    whole_class: bool,
    seed: int,
    metrics: tuple[Metric, ...],
) -> Iterator[Row]:
    """Yield what a run without retrained models has in place of gaps to them; `rows` are the roles' own values.

    `change_<metric>`, of unlearned: its value less the original's. `gap_held_out_<metric>`, of original and unlearned
    on forget: the value there less that on held-out rows of the same kind; a model that never saw forget has about 0.
    `js_to_original`, of unlearned: the mean Jensen-Shannon divergence between its outputs and the original's, in bits.
    """
    before = {(row.split, row.metric): row.value for row in rows if row.role == "original"}
    for row in rows:
        if row.role == "unlearned" and (row.split, row.metric) in before:
            yield Row("unlearned", row.split, f"change_{row.metric}", row.value - before[row.split, row.metric])
    for role, subject in (("original", original), ("unlearned", unlearned)):
        yield from _against_held_out(role, subject, original, whole_class, seed, metrics)
    for split, scores in unlearned.items():
        if len(scores) and OPTIONS in scores.known:
            apart = js_bits(scores.probabilities, original[split].probabilities)
            yield Row("unlearned", split, "js_to_original", float(apart.mean()))


def _against_held_out(
    role: str, subject: BySplit, original: BySplit, whole_class: bool, seed: int, metrics: tuple[Metric, ...]
) -> Iterator[Row]:
    like = held_out_like(subject, whole_class)
    if not len(like):
        return
    known = subject["forget"].known & like.known
    chosen = [one for one in metrics if one.name in HELD_OUT and {*one.needs} <= known]
    there = numbers(chosen, Evidence({"test": like}, original, (), (), whole_class, seed), "test")
    here = numbers(chosen, Evidence(subject, original, (), (), whole_class, seed), "forget")
    for name, value in here.items():
        if name in there:
            yield Row(role, "forget", f"gap_held_out_{name}", value - there[name])
