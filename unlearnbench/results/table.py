"""What a run prints when it is done: the roles on each split, the gap to retrained, the price."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from unlearnbench.errors import counted
from unlearnbench.evidence import ROLES
from unlearnbench.files.escapes import printable
from unlearnbench.results.result import read_result
from unlearnbench.results.rows import read_values

SPLITS = ("retain", "forget", "test", "test_retain", "test_forget")
EXTRA = (
    ("accuracy_corrected", "test_forget"), ("flip_rate", "test"), ("flip_rate_legitimate", "test"),
    ("js_to_retrained", "forget"), ("zrf", "forget"), ("mia_confidence", "forget"),
    ("stereotype_rate", "crows_pairs"), ("stereoset_icat", "stereoset"),
    ("bbq_s_dis", "bbq"), ("bbq_s_amb", "bbq"), ("bbq_accuracy", "bbq"),
    ("truth_ratio", "forget"), ("forget_quality", "forget"), ("model_utility", "test"),
)  # fmt: skip
"""What is shown beside the accuracies, where a run has it."""
WRITTEN = tuple(("answer_nll", split) for split in ("retain", "forget", "test"))
"""How likely the answers are, beside the accuracies of a user's own rows with options: choices may not move at all."""
OF_PRESETS = ("accuracy_corrected", "truth_ratio")
"""What only the presets of text measure; they show the likelihood of forget answers alone."""
TO_RETRAINED = ("zrf", "mia_confidence")
"""What says nothing of one model alone: its perfect value is the retrained model's."""
WITHOUT = (("gap_held_out_accuracy", "forget"), ("mia_auc", "forget"), ("js_to_original", "retain"))
"""What is shown too of a run without retrained models."""
WITHOUT_OPTIONS = (("gap_held_out_answer_nll", "forget"),)
"""The same where rows have no answer options."""
OVER_SEEDS = (
    "one run says nothing; the report of a sweep over seeds does. Try: unlearnbench run -m 'seed=range(0,8)' "
    "reference.count=2 and the other words"
)
UNKNOWN = (
    "no model was retrained (reference.count=0): how a model that never saw the forget rows answers them is unknown, "
    "so nothing here says whether too little or too much was forgotten. gap_held_out: forget less held-out rows of the "
    "same kind; a model that never saw them has about 0, and mia_auc .5, but so may one that has not forgotten them"
)
ANSWERS = (
    *((metric, split) for metric in ("answer_nll", "rouge_l", "exact_memorisation", "extraction_strength")
      for split in SPLITS[:3]),
    ("mia_auc", "forget"), ("mia_loss", "forget"),
)  # fmt: skip
"""What is shown in place of accuracies where rows have no answer options."""


def show(folder: Path, *, reused: bool, console: Console) -> None:
    """Print a run folder's table, cost and place."""
    result = read_result(folder)
    if result["status"] != "done":
        reason = "\n".join(map(printable, str(result["reason"]).splitlines()))
        console.print(f"{result['status']}: {reason}", markup=False, soft_wrap=True)
    else:
        values = read_values(folder)
        console.print(_table(result, values))
        if result.get("words"):
            console.print(printable(" ".join(map(str, result["words"]))), markup=False, soft_wrap=True)
        if result.get("checkpoint"):
            console.print(result["checkpoint"]["text"], markup=False, soft_wrap=True)
        if _is_unreferenced(result):
            console.print(UNKNOWN, markup=False, soft_wrap=True)
        if result.get("premise"):
            console.print(f"premise: {result['premise']['text']}", markup=False, soft_wrap=True)
        for remark in result.get("remarks", ()):
            console.print(str(remark), markup=False, soft_wrap=True)
        for name in result.get("across", ()):
            console.print(f"{printable(name)}: {OVER_SEEDS}", markup=False, soft_wrap=True)
        if result.get("base_note"):
            console.print(printable(str(result["base_note"])), markup=False, soft_wrap=True)
        console.print(_cost(result), markup=False, soft_wrap=True)
    note = " (done before, shown again)" if reused else ""
    console.print(f"files: {printable(str(folder))}{note}", markup=False, soft_wrap=True)


def _table(result: dict[str, Any], values: dict[tuple[str, str, str], float]) -> Table:
    title = f"{result['method']} on {result['model']}, {result['dataset']}, forgetting {result['forget']}"
    named = Text(printable(f"{title}, seed {result['seed']}"), style="table.title")  # as text, :t-shirt: is no picture
    table = Table(title=named, title_justify="left")
    table.add_column("")
    without = _is_unreferenced(result)
    roles = [role for role in ROLES if not (without and role == "retrained")]
    for column in (*roles, "change" if without else "gap"):
        table.add_column(column, justify="right")
    rows = [("accuracy", split) for split in SPLITS if ("original", split, "accuracy") in values]
    of_preset = any(metric in OF_PRESETS for _, _, metric in values)
    written = tuple(cell for cell in WRITTEN if not of_preset or cell[1] == "forget")
    known = [cell for cell in ((*written, *EXTRA) if rows else ANSWERS) if ("original", cell[1], cell[0]) in values]
    if without:
        known = [cell for cell in known if cell[0] not in TO_RETRAINED]
    known += [
        cell for cell in (WITHOUT if rows else WITHOUT_OPTIONS) if without and ("unlearned", cell[1], cell[0]) in values
    ]
    for metric, split in (*rows, *known):
        cells = [_cell(values.get((role, split, metric))) for role in roles]
        gap = values.get(("unlearned", split, f"{'change' if without else 'gap'}_{metric}"))
        table.add_row(escape(f"{metric} {split}"), *cells, f"{gap:+.4f}" if gap is not None else "")
    return table


def _is_unreferenced(result: dict[str, Any]) -> bool:
    return result.get("references") == 0


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _cost(result: dict[str, Any]) -> str:
    seconds, ratio = result["seconds"], result["cost_ratio"]
    where = f"on {result['device']}, {counted(result['threads'], 'thread')}, {result['precision']}"
    retrained = [value for name, value in seconds.items() if name.startswith("retrained")]
    if not retrained:
        return f"seconds: original {seconds['original']:.1f}, unlearned {seconds['unlearned']:.1f} {where}"
    note = result["cost_note"]
    compared = f"no ratio, {note}" if ratio is None else f"{ratio:.3f} of retraining without validation"
    compared += "".join(f"; {value:.3f} of its {what}" for value, what in _work(result))
    compared += f"; {note}" if note and ratio is not None else ""
    prepared = result.get("preparation_seconds", {}).get("unlearned", 0.0)
    compared += f"; without {prepared:.1f} of preparation" if prepared else ""
    return (
        f"seconds: original {seconds['original']:.1f}, retrained {sum(retrained) / len(retrained):.1f}, "
        f"unlearned {seconds['unlearned']:.1f} ({compared}) {where}"
    )


def _work(result: dict[str, Any]) -> list[tuple[float, str]]:
    """Return the ratios to retraining that other work on the machine does not change, and what they are of."""
    processor = "GPU seconds" if result.get("gpu_seconds") else "CPU seconds"
    found = ((result.get("compute_ratio"), processor), (result.get("examples_ratio"), "examples"))
    return [(value, what) for value, what in found if value is not None]
