"""What a run prints when it is done: which rows its table has, and what is said below it."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from unlearnbench.results.table import show

RESULT = {
    "status": "done", "reason": "", "method": "npo", "model": "m", "dataset": "chat", "forget": "column:person=3",
    "seed": 0, "seconds": {"original": 1.0, "unlearned": 1.0, "retrained_0": 1.0}, "cost_ratio": 0.5, "cost_note": "",
    "device": "cpu", "threads": 2, "precision": "fp32",
}  # fmt: skip


def printed(folder, cells, **changes):
    """Print the run whose original, retrained and unlearned models all have these values by metric and split."""
    (folder / "result.json").write_text(json.dumps({**RESULT, **changes}))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("role", "split", "metric", "value"))
        for (metric, split), value in cells.items():
            writer.writerows((role, split, metric, value) for role in ("original", "retrained", "unlearned"))
    console = Console(width=300, file=io.StringIO())
    show(folder, reused=False, console=console)
    return console.file.getvalue()


@pytest.mark.parametrize(("more", "shown"), [("zrf", ["retain", "forget", "test"]), ("truth_ratio", ["forget"])])
def test_rows_with_options_show_how_likely_their_answers_are(tmp_path, more, shown):
    splits = ("retain", "forget", "test")
    cells = {(metric, split): 0.5 for metric in ("accuracy", "answer_nll", more) for split in splits}
    said = printed(tmp_path, cells)
    assert [split for split in splits if f"answer_nll {split}" in said] == shown
    assert "accuracy forget" in said


def test_remarks_are_printed_below_the_table(tmp_path):
    said = printed(tmp_path, {("accuracy", "forget"): 0.5}, remarks=["forget has 3 rows: [b]"])
    assert "\nforget has 3 rows: [b]\n" in said
