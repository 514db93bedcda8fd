#!/usr/bin/env python3
"""Find a default for each method on validation data: the same number of trials for each, and all of them kept.

    python scripts/tune_methods.py [METHOD ...] [--kind image|text] [--trials 6] [--write]
    python scripts/tune_methods.py [METHOD ...] [--kind image|text] --again 2 [--write]

Images: `fashion` with `tiny_resnet`, a class and a random tenth; text: `clinical_notes` with `llama_tiny`, its biased
rows. Seed, class and draw are in no table of docs/results, and test rows are never scored. The first trial of a method
is its default; the others come from scripts/tuning_space.yaml, or are other learning rates. All trials are runs of one
sweep, so that a second call computes only what is new.

The objective is the mean absolute gap to the retrained model in accuracy on retain, forget and held-out rows (text:
also in corrected answers and flip rate), averaged over the forget sets. Of trials within .001 the cheapest is best, and
one that took longer than retraining is not taken where another did not.

--again runs the best trials of each method once more, on another seed, class and draw, since the best of six on one
draw is partly luck; images with ResNet18 too, since a small model favours high learning rates. The choice is then by
the mean gap, each model counting the same, among the trials that were run again.
Every trial is a row of docs/results/tuning_KIND.csv, and docs/results/tuning.md is made from these. --write puts the
best values into configs/method (text: configs/tuned/tiny_language) and keeps the comments there.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import yaml
from trials import at, changed, space_of, trials_of, values_of, words_of, written
from tuning_table import OF_MODEL, SAME, SCALE, best, joined, kept, page, ranked

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


@dataclass(frozen=True)
class Draw:
    """What trials are run on: a seed, for images a class and a draw, and a `model` other than the first draw's."""

    name: str
    seed: int
    forget: dict[str, dict[str, Any]]
    model: str | None = None


def image_draw(name: str, seed: int, class_number: int, draw: int, model: str | None = None) -> Draw:
    """Return a seed with a class and a random tenth."""
    one_class = {"_target_": "unlearnbench.forget.classes.ByClass", "classes": [class_number], "seed": 0, "already": []}
    tenth = {
        "_target_": "unlearnbench.forget.random.Random", "fraction": 0.1, "count": None, "seed": draw,
        "whole_pairs": False, "already": [],
    }  # fmt: skip
    return Draw(name, seed, {f"{name}_class": one_class, f"{name}_random": tenth}, model)


FIRST = {"image": image_draw("tuning", 3, 2, 1), "text": Draw("tuning", 3, {})}
AGAIN = {
    "image": (image_draw("again", 4, 5, 2), image_draw("larger", 4, 5, 2, "resnet18")),
    "text": (Draw("again", 4, {}),),
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
        return f"{self.method}_t{self.number}"


def methods_of(kind: str) -> list[str]:
    """Return the methods for a kind of data that have something to choose."""
    known = [entry.name for entry in entries("methods") if kind in entry.kind]
    return [name for name in known if name not in FIXED and not name.endswith("_paper")]


def start_of(kind: str, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a method's trials have in common beside its composed values, by dotted field."""
    own = (ROOT / "configs" / "tuned" / "tiny_language" / f"{method}.yaml").exists()
    sgd = settings.get("optimizer", {}).get("name") == "sgd"
    return dict(START) if kind == "text" and sgd and not own else {}


def first_trials(kind: str, methods: list[str], count: int) -> list[Trial]:
    """Return each method's trials: its default and values from its space."""
    found = []
    for method in methods:
        composed = composed_of(kind, method)
        start = start_of(kind, method, composed)
        settings = changed(composed, start)
        all_values = trials_of(method, settings, space_of(SPACE, method, kind), count)
        found += [Trial(method, number, {**start, **values}) for number, values in enumerate(all_values)]
    return found


def best_trials(rows: pandas.DataFrame, methods: list[str], count: int) -> list[Trial]:
    """Return each method's best trials in the table of all."""
    found = []
    for method, mine in rows[rows["method"].isin(methods)].groupby("method"):
        for _, row in ranked(mine, "gap").head(count).iterrows():
            if math.isfinite(row["gap"]):
                found.append(Trial(str(method), int(row["trial"]), values_of(row["values"])))
    return found


def composed_of(kind: str, method: str) -> dict[str, Any]:
    """Return a method's composed values."""
    return compose([*SCALE[kind], f"method={method}"]).request.config["method"]


def prepared(kind: str, trials: list[Trial], draw: Draw, folder: Path) -> None:
    """Write a configuration file for each trial, and for the forget sets."""
    for group in ("method", "forget"):
        (folder / group).mkdir(parents=True, exist_ok=True)
    for name, values in draw.forget.items():
        (folder / "forget" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    for trial in trials:
        settings = changed(composed_of(kind, trial.method), trial.values)
        (folder / "method" / f"{trial.name}.yaml").write_text(yaml.safe_dump(settings))


def scale_of(kind: str, draw: Draw) -> list[str]:
    """Return the data set and model of a draw, as words."""
    return [
        word if draw.model is None or not word.startswith("model=") else f"model={draw.model}" for word in SCALE[kind]
    ]


def swept(kind: str, trials: list[Trial], draw: Draw, folder: Path, given: argparse.Namespace) -> Path:
    """Run all trials as one sweep; return its folder."""
    sweep = given.outputs / "sweeps" / f"{draw.name}_{kind}"
    forget = [f"forget={','.join(draw.forget)}"] if draw.forget else []
    words = [
        *scale_of(kind, draw), *forget, f"method={','.join(trial.name for trial in trials)}", f"seed={draw.seed}",
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


def ran(kind: str, trials: list[Trial], draw: Draw, given: argparse.Namespace) -> pandas.DataFrame:
    """Run the trials on a draw; return their rows."""
    folder = given.outputs / draw.name / kind
    prepared(kind, trials, draw, folder)
    return measured(kind, trials, swept(kind, trials, draw, folder, given))


def together(several: Sequence[tuple[Draw, pandas.DataFrame]]) -> pandas.DataFrame:
    """Return the rows of one draw; of several, their gaps side by side, and the mean gap and cost ratio."""
    if len(several) == 1:
        return several[0][1]
    whole = several[0][1][["method", "trial", "values"]].copy()
    for draw, rows in several:
        whole[f"{OF_MODEL}{draw.model or SAME}"] = rows["gap"]
        for name in (one for one in rows.columns if " " in one):
            whole[f"{draw.model} {name}" if draw.model else name] = rows[name]
    for name in ("gap", "cost_ratio"):
        whole[name] = sum(rows[name] for _, rows in several) / len(several)
    states = zip(*(rows["status"] for _, rows in several), strict=True)
    return whole.assign(status=[" ".join(sorted(set(" ".join(one).split()))) for one in states])


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
    parser.add_argument("--again", type=int, default=0, help="run so many best trials of each method on another draw")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--words", nargs="*", default=[], help="further words of the runs, such as train.epochs=2")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    table = given.results / f"tuning_{given.kind}.csv"
    methods = given.methods or methods_of(given.kind)
    if given.again:
        trials = best_trials(pandas.read_csv(table), methods, given.again)
    else:
        trials = first_trials(given.kind, methods, given.trials)
    print(f"{len(trials)} trials", file=sys.stderr)
    draws = AGAIN[given.kind] if given.again else (FIRST[given.kind],)
    rows = together([(draw, ran(given.kind, trials, draw, given)) for draw in draws])
    kept(given.kind, joined(pandas.read_csv(table), rows) if given.again else rows, given.results)
    (given.results / "tuning.md").write_text(page(given.results))
    show(given.kind, pandas.read_csv(table), methods, write=given.write)


def show(kind: str, table: pandas.DataFrame, methods: list[str], *, write: bool) -> None:
    """Print the best values of each method, and write them into its defaults if asked to."""
    for method, mine in table[table["method"].isin(methods)].groupby("method"):
        one = best(mine)
        trial = Trial(str(method), int(one["trial"]), values_of(one["values"]))
        print(f"{method}: {one['gap']:.4f} (default {mine.iloc[0]['gap']:.4f})  {words_of(trial.values)}")
        now = composed_of(kind, trial.method)
        new = any(at(now, field) != value for field, value in trial.values.items())
        if write and new and math.isfinite(one["gap"]):
            print(f"  written: {adopted(kind, trial).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
