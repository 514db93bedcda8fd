#!/usr/bin/env python3
"""Make the tables of docs/results/evaluation.md from the reports of its sweeps.

    unlearnbench run experiment=evaluations_images runner=local runner.workers=2
    unlearnbench run experiment=evaluations_seeds runner=local runner.workers=2
    unlearnbench run experiment=evaluations_text runner=local runner.workers=2
    python scripts/build_evaluation_page.py images=REPORT seeds=REPORT text=REPORT

REPORT is the folder `report` of a sweep. A part of the page between `<!-- NAME -->` and `<!-- end of NAME -->` is made
anew if its report is given; the reading of the tables is written by hand and stays as it is.
"""

import math
from pathlib import Path

import pandas
from build_methods_page import FIRST, remake

PAGE = Path(__file__).parents[1] / "docs" / "results" / "evaluation.md"
SPLITS = ("retain", "forget", "test")
ACCURACY = [(f"{split} accuracy", "accuracy", split) for split in SPLITS]
OF_MODELS = {
    "images": [*ACCURACY, ("membership", "mia_confidence", "forget")],
    "text": [*ACCURACY, ("membership", "mia_confidence", "forget"), ("corrected", "accuracy_corrected", "test_forget")],
}
"""What each model has: title, metric and split."""
OF_ROWS = {
    "images": [
        ("`ulira_accuracy`", "ulira_accuracy", "forget"), ("at 1 %", "ulira_tpr_fpr_01", "forget"),
        ("`ulira_klom`", "ulira_klom", "forget"), ("its null", "ulira_klom_null", "forget"),
        ("retain", "ulira_accuracy", "retain"), ("`rmia`", "gap_rmia_auc", "forget"),
        ("`calibrated`", "gap_calibrated_auc", "forget"),
    ],
    "text": [
        ("`calibrated`", "gap_calibrated_auc", "forget"), ("`min_k`", "gap_min_k_auc", "forget"),
        ("`min_k++`", "gap_min_k_plus_plus_auc", "forget"), ("`zlib`", "gap_zlib_auc", "forget"),
        ("`privleak`", "privleak", "forget"),
    ],
}  # fmt: skip
"""Is it forgotten, row by row? Gaps to retrained, but for U-LiRA and privleak."""
AUDITS = [
    ("`relearn_area`", "gap_relearn_area", "forget"), ("`relearn_speed`", "relearn_speed", "forget"),
    ("`quantise_gain`", "gap_quantise_gain", "forget"), ("`probe_accuracy`", "gap_probe_accuracy", "forget"),
    ("`stop_gain`", "stop_gain", "forget"),
]  # fmt: skip
OF_AUDITS = {
    "images": AUDITS,
    "text": [
        *AUDITS[:4], ("`variant_gain`", "gap_variant_gain", "forget"),
        ("repetition", "gap_repetition", "forget"), AUDITS[4],
    ],
}  # fmt: skip
"""Does it stay forgotten, and would stopping earlier have been better? Gaps to retrained, but for speed and stop."""
ACROSS = [
    ("`klom_gaussian` forget", "klom_gaussian", "forget"), ("retain", "klom_gaussian", "retain"),
    ("test", "klom_gaussian", "test"), ("`forgetting_score`", "forgetting_score", "forget"),
    ("`final_score`", "final_score", "forget"),
]  # fmt: skip
Columns = list[tuple[str, str, str]]


def shown(value: float) -> str:
    """Return a number as it is printed, nothing where there is none."""
    return "" if math.isnan(value) else f"{value:.3f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table without the columns that are empty."""
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line[at] for at in kept) + " |" for line in lines) + "\n"


class Report:
    """The rows of a sweep's report."""

    def __init__(self, folder: Path) -> None:
        results = pandas.read_csv(folder / "results.csv")
        keys = ["role", "metric", "split", "method"]
        self.values = results.groupby(keys)["value"].mean().to_dict()
        self.shared = results.groupby(keys[:3])["value"].mean().to_dict()
        runs = pandas.read_csv(folder / "runs.csv")
        found = list(dict.fromkeys(runs[runs["status"] == "done"]["method"]))
        self.methods = [*(one for one in FIRST if one in found), *sorted(set(found) - set(FIRST))]

    def of(self, method: str, columns: Columns) -> list[str]:
        """Return a method's numbers."""
        return [shown(self.values.get(("unlearned", metric, split, method), math.nan)) for _, metric, split in columns]

    def role(self, role: str, columns: Columns) -> list[str]:
        """Return the numbers of the original or of the retrained models, which all methods share."""
        return [shown(self.shared.get((role, metric, split), math.nan)) for _, metric, split in columns]

    def floor(self, columns: Columns) -> list[str]:
        """Return how far two retrained models are apart, where that was measured."""
        bare = [(title, f"floor_{metric.removeprefix('gap_')}", split) for title, metric, split in columns]
        return self.role("retrained", bare)


def part(name: str, folder: Path, _before: str) -> str:
    """Return a part of the page."""
    if name == "seeds":
        return over_seeds(folder)
    report = Report(folder)
    parts = ["**The models.**\n", models(report, OF_MODELS[name]), "**Row by row.**\n", gaps(report, OF_ROWS[name])]
    return "\n".join([*parts, "**Audits.**\n", gaps(report, OF_AUDITS[name])])


def models(report: Report, columns: Columns) -> str:
    """Return what each model does, the original and the retrained one first."""
    head = ["", *(title for title, _, _ in columns), "mean gap"]
    rows = [[f"*{role}*", *report.role(role, columns), ""] for role in ("original", "retrained")]
    for method in report.methods:
        own = [report.values.get(("unlearned", "gap_accuracy", split, method), math.nan) for split in SPLITS]
        rows.append([f"`{method}`", *report.of(method, columns), shown(sum(map(abs, own)) / len(own))])
    floor = [report.shared.get(("retrained", "floor_accuracy", split), math.nan) for split in SPLITS]
    return table(head, [*rows, ["*floor*", *report.floor(columns), shown(sum(floor) / len(floor))]])


def gaps(report: Report, columns: Columns) -> str:
    """Return numbers that only unlearned models have, and below them how far two retrained models are apart."""
    rows = [[f"`{method}`", *report.of(method, columns)] for method in report.methods]
    return table(["", *(title for title, _, _ in columns)], [*rows, ["*floor*", *report.floor(columns)]])


def over_seeds(folder: Path) -> str:
    """Return the numbers over seeds; a star where one is within its null."""
    across = pandas.read_csv(folder / "across.csv")
    across = across[across["role"] == "unlearned"]
    across = across.assign(method=across["variant"]).set_index(["method", "metric", "split"])
    rows, nulls = [], [""] * len(ACROSS)
    methods = set(across.index.get_level_values("method"))
    for method in [*(one for one in FIRST if one in methods), *sorted(methods - set(FIRST))]:
        row = [f"`{method}`"]
        for at, (_, metric, split) in enumerate(ACROSS):
            if (method, metric, split) not in across.index:
                row.append("")
                continue
            one = across.loc[(method, metric, split)]
            row.append(shown(one["value"]) + (" *" if one["within_null"] == "yes" else ""))
            nulls[at] = f"{shown(one['null'])} ({shown(one['null_low'])} to {shown(one['null_high'])})"
        rows.append(row)
    return table(["", *(title for title, _, _ in ACROSS)], [["*null*", *nulls], *rows])


if __name__ == "__main__":
    remake(PAGE, ["images", "seeds", "text"], {"=": part}, str(__doc__))
