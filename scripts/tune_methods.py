#!/usr/bin/env python3
"""Find a default for each method on validation data: the same number of trials for each, and all of them kept.

    python scripts/tune_methods.py [METHOD ...] [--kind image|text] [--trials 6] [--write]

Images: `fashion` with `tiny_resnet`, a class and a random tenth; text: `clinical_notes` with `llama_tiny`, its biased
rows. Seed, class and draw are in no table of docs/results, and test rows are never scored. The first trial of a method
is its default; the others come from scripts/tuning_space.yaml, or are other learning rates. All trials are runs of one
sweep, so that a second call computes only what is new.

The objective is the mean absolute gap to the retrained model in accuracy on retain, forget and held-out rows (text:
also in corrected answers and flip rate), averaged over the forget sets. Of trials within .001 the cheapest is best, and
one that took longer than retraining is not taken where another did not.
Every trial is a row of docs/results/tuning_KIND.csv, and docs/results/tuning.md is made from these. --write puts the
best values into configs/method (text: configs/tuned/tiny_language) and keeps the comments there.
"""

import argparse
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import yaml
from trials import changed, space_of, trials_of, words_of, written

from unlearnbench.request.catalogue import entries
from unlearnbench.request.compose import compose

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "scripts" / "tuning_space.yaml"
RESULTS = ROOT / "docs" / "results"
FIXED = ("none", "retrain", "external", "output_mask", "sisa")
"""Methods that have nothing to choose."""
START = {
    "batch_size": 32, "optimizer.name": "adamw", "optimizer.lr": 1e-3, "optimizer.momentum": 0.0,
    "optimizer.weight_decay": 0.01, "optimizer.clip_norm": 1.0,
}  # fmt: skip
"""Where a method of SGD starts on text, if configs/tuned/tiny_language has no values of its own for it."""
TIE = 3
"""Digits of the objective that count."""
FORGET = {
    "image": {
        "tuning_class": {"_target_": "unlearnbench.forget.classes.ByClass", "classes": [2], "seed": 0, "already": []},
        "tuning_random": {
            "_target_": "unlearnbench.forget.random.Random", "fraction": 0.1, "count": None, "seed": 1,
            "whole_pairs": False, "already": [],
        },
    },
    "text": {},
}  # fmt: skip
SCALE = {
    "image": ["dataset=fashion", "model=tiny_resnet"],
    "text": ["dataset=clinical_notes", "model=llama_tiny"],
}
GAPS = {
    "image": [("accuracy", "retain"), ("accuracy", "forget"), ("accuracy", "test")],
    "text": [
        ("accuracy", "retain"), ("accuracy", "forget"), ("accuracy", "test"),
        ("accuracy_corrected", "test_forget"), ("flip_rate", "test"),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Some values of a method under a name of its own."""

    method: str
    number: int
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name in the sweep."""
        return f"{self.method}_trial{self.number}"


def methods_of(kind: str) -> list[str]:
    """Return the methods for a kind of data that have something to choose."""
    known = [entry.name for entry in entries("methods") if kind in entry.kind]
    return [name for name in known if name not in FIXED and not name.endswith("_paper")]


def start_of(kind: str, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a method's trials have in common beside its composed values, by dotted field."""
    own = (ROOT / "configs" / "tuned" / "tiny_language" / f"{method}.yaml").exists()
    sgd = settings.get("optimizer", {}).get("name") == "sgd"
    return dict(START) if kind == "text" and sgd and not own else {}


def prepared(kind: str, methods: list[str], count: int, folder: Path) -> list[Trial]:
    """Write a configuration file for each trial, and for the forget sets; return the trials."""
    found = []
    for group in ("method", "forget"):
        (folder / group).mkdir(parents=True, exist_ok=True)
    for name, values in FORGET[kind].items():
        (folder / "forget" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    for method in methods:
        composed = compose([*SCALE[kind], f"method={method}"]).request.config["method"]
        start = start_of(kind, method, composed)
        settings = changed(composed, start)
        for number, values in enumerate(trials_of(method, settings, space_of(SPACE, method, kind), count)):
            trial = Trial(method, number, {**start, **values})
            (folder / "method" / f"{trial.name}.yaml").write_text(yaml.safe_dump(changed(settings, values)))
            found.append(trial)
    return found


def swept(kind: str, trials: list[Trial], folder: Path, given: argparse.Namespace) -> Path:
    """Run all trials as one sweep; return its folder."""
    sweep = given.outputs / "sweeps" / f"tuning_{kind}"
    forget = [f"forget={','.join(FORGET[kind])}"] if FORGET[kind] else []
    words = [
        *SCALE[kind], *forget, f"method={','.join(trial.name for trial in trials)}", "seed=3",
        "eval.held_out=validation", "plots=false", "save_model=false", "threads=1",
        "runner=local", f"runner.workers={given.workers}", "runner.threads=1",
        f"outputs={given.outputs}", f"hydra.sweep.dir={sweep}", *given.words,
    ]  # fmt: skip
    command = [sys.executable, "-m", "unlearnbench", "run", "-m", "--config-dir", str(folder), *words]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # a trial that diverges is a result too
    return sweep


def measured(kind: str, trials: list[Trial], sweep: Path) -> pandas.DataFrame:
    """Return a row for each trial: its words, the gaps of each forget set, their mean, and the cost."""
    results, runs = pandas.read_csv(sweep / "report" / "results.csv"), pandas.read_csv(sweep / "report" / "runs.csv")
    gaps = results[(results["role"] == "unlearned") & results["metric"].str.startswith("gap_")]
    known = gaps.set_index(["method", "forget", "metric", "split"])["value"].abs().to_dict()
    forgets = sorted(runs["forget"].unique())
    rows = []
    for trial in trials:
        mine = runs[runs["method"] == trial.name]
        row: dict[str, Any] = {"method": trial.method, "trial": trial.number, "values": words_of(trial.values)}
        every = []
        for forget in forgets:
            for metric, split in GAPS[kind]:
                row[f"{forget} {metric} {split}"] = known.get((trial.name, forget, f"gap_{metric}", split), math.nan)
            own = [row[f"{forget} {metric} {split}"] for metric, split in GAPS[kind]]
            every.append(math.inf if any(map(math.isnan, own)) else sum(own) / len(own))
        status = sorted(set(mine["status"]) - {"done"}) or ["done" if len(mine) else "missing"]
        skipped = mine[mine["status"] == "skipped"]["forget"]
        counted = [gap for forget, gap in zip(forgets, every, strict=True) if forget not in set(skipped)]
        row["gap"] = sum(counted) / len(counted) if counted else math.inf
        row["cost_ratio"], row["status"] = mine["cost_ratio"].mean(), " ".join(status)
        rows.append(row)
    return pandas.DataFrame(rows)


def best(rows: pandas.DataFrame) -> pandas.Series:
    """Return the trial with the least gap; of about equal ones the cheapest.

    Trials that took longer than retraining count only where all did.
    """
    cheap = rows[rows["cost_ratio"] < 1]
    rows = cheap if len(cheap) else rows
    ranked = rows.assign(rank=rows["gap"].round(TIE)).sort_values(["rank", "cost_ratio", "trial"])
    return ranked.iloc[0]


def kept(kind: str, rows: pandas.DataFrame, results: Path) -> None:
    """Write the trials into their table, in the place of earlier ones of the same methods."""
    file = results / f"tuning_{kind}.csv"
    if file.exists():
        before = pandas.read_csv(file)
        rows = pandas.concat([before[~before["method"].isin(set(rows["method"]))], rows])
    rows = rows.sort_values(["method", "trial"])
    rows.to_csv(file, index=False, float_format="%.4f", lineterminator="\n")


def page(results: Path) -> str:
    """Return tuning.md: for each method its default's gap, the best trial's, and that trial's values."""
    parts = [
        "# Defaults found on validation data\n",
        "```\npython scripts/tune_methods.py --kind image\npython scripts/tune_methods.py --kind text\n```\n",
        "Each trial is a row of the CSV. gap: mean absolute difference to the retrained model,",
        "on validation rows in the place of test rows, averaged over the forget sets",
        "(scripts/tune_methods.py says what exactly). before: with the values that the method had then.\n",
    ]
    for kind in SCALE:
        file = results / f"tuning_{kind}.csv"
        if not file.exists():
            continue
        parts += [f"## {kind.capitalize()}\n", f"`{' '.join(SCALE[kind])}`, all trials: [{file.name}]({file.name})\n"]
        parts += [
            "| method | trials | gap before | gap of the best | cost ratio | its values |",
            "|---|---|---|---|---|---|",
        ]
        for method, rows in pandas.read_csv(file).groupby("method"):
            one, default = best(rows), rows[rows["trial"] == 0].iloc[0]
            chosen = f"`{one['values']}`" if isinstance(one["values"], str) and one["trial"] else "as before"
            numbers = f"{_shown(default['gap'])} | {_shown(one['gap'])} | {_shown(one['cost_ratio'])}"
            parts.append(f"| `{method}` | {len(rows)} | {numbers} | {chosen} |")
        parts.append("")
    return "\n".join(parts)


def _shown(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "diverged"


def adopted(kind: str, trial: Trial) -> Path:
    """Write a trial's values into the method's defaults; return the file."""
    place = ROOT / "configs" / ("method" if kind == "image" else "tuned/tiny_language") / f"{trial.method}.yaml"
    place.write_text(written(place.read_text() if place.exists() else "", trial.values))
    return place


def main() -> None:
    """Run the trials, write the tables, and print the best values of each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--kind", choices=sorted(SCALE), default="image")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--words", nargs="*", default=[], help="further words of the runs, such as train.epochs=2")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    folder = given.outputs / "tuning" / given.kind
    trials = prepared(given.kind, given.methods or methods_of(given.kind), given.trials, folder)
    print(f"{len(trials)} trials", file=sys.stderr)
    rows = measured(given.kind, trials, swept(given.kind, trials, folder, given))
    kept(given.kind, rows, given.results)
    (given.results / "tuning.md").write_text(page(given.results))
    by_name = {trial.name: trial for trial in trials}
    for method, mine in rows.groupby("method"):
        one = best(mine)
        trial = by_name[f"{method}_trial{one['trial']}"]
        print(f"{method}: {one['gap']:.4f} (default {mine.iloc[0]['gap']:.4f})  {words_of(trial.values)}")
        new = trial.number or "optimizer.name" in trial.values
        if given.write and new and math.isfinite(one["gap"]):
            print(f"  written: {adopted(given.kind, trial).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
