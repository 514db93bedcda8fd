"""What a board adds for text: whether its premise holds, and the remaining bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unlearnbench.report.collect import Runs
from unlearnbench.report.units import capital, named, unit_of

if TYPE_CHECKING:
    import pandas

HEADER = (
    "method", "corrected answers, held-out biased rows", "flip rate", "flip rate where legitimate",
    "accuracy, other held-out rows",
)  # fmt: skip
MEASURED = {"flip_rate", "flip_rate_legitimate", "called_biased", "called_unbiased"}
"""A board has a table of bias where its runs have one of these: where the data have columns about it."""
METRICS = (
    ("accuracy_corrected", "test_forget"), ("flip_rate", "test"), ("flip_rate_legitimate", "test"),
    ("accuracy", "test_retain"),
)  # fmt: skip

READING = (
    "On text, accuracy is agreement with the answer that a row was trained with. For biased rows that is the biased "
    "answer, so a high forget accuracy means remaining bias, and the retrained model's value is the target. corrected "
    "answers: how often held-out biased rows get the unbiased judgement; higher is less biased. flip rate: how "
    "often an answer changes when only the demographic words are swapped; lower is less biased, but a constant "
    "answer never flips, so read it together with the accuracy on the other held-out rows. flip rate where legitimate: "
    "sex or age rightly decides, so all answers should flip, and a value below retrained is over-correction."
)


def bias_rows(
    lines: list[tuple[str, str]], cell: Callable[[str, str, str, str], str], known: set[str]
) -> list[tuple[str, ...]]:
    """Return a row of text per line (name, role) of a board, if its runs measured a bias."""
    if not known & MEASURED:
        return []
    rows = []
    for name, role in lines:
        variant = name if role == "unlearned" else ""
        rows.append((name, *(cell(variant, role, metric, split) for metric, split in METRICS)))
    return rows


def premise_text(runs: Runs, table: pandas.DataFrame) -> str:
    """Return for how many seeds (and draws) the premise of a board's runs holds, and why it fails.

    "" if there is none.
    """
    by_unit = {}
    for run_id in table["run_id"]:
        facts = runs.facts[str(run_id)]
        if facts.premise:
            by_unit[unit_of(facts)] = facts.premise
    if not by_unit:
        return ""
    pooled = len({draw for _, draw in by_unit}) > 1
    holds = [unit for unit, premise in by_unit.items() if premise.holds]
    rows_alone = any(premise.about == "forget rows" for premise in by_unit.values())
    name = "Premise (about the forget rows, not the rule)" if rows_alone else "Premise"
    words = [f"{name}: it holds for {len(holds)} of {len(by_unit)} {'seeds and draws' if pooled else 'seeds'}."]
    words += [
        f"{capital(named(unit, pooled=pooled))}: {premise.text}."
        for unit, premise in sorted(by_unit.items())
        if not premise.holds or premise.degenerate
    ]
    return " ".join(words)
