"""Run folders as results.py leaves them, made up in a moment: what tests of the report read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from unlearnbench.files import sums
from unlearnbench.results.rows import COLUMNS

SPLITS = ("retain", "forget", "test")


def make_run(outputs: Path, run_id: str, method: str = "distill", seed: int = 0, **changes) -> Path:
    """Write a small run folder as results.py does: accuracies, a divergence, and retrained scores on forget."""
    folder = outputs / "runs" / f"{method}_m_d_{run_id}"
    (folder / "scores").mkdir(parents=True)
    further = changes.pop("further", ())  # rows of role, split, metric, value
    accuracy = changes.pop("accuracy", {"retain": 0.9, "forget": 0.3, "test": 0.8})
    names = {
        "run_id": run_id, "experiment": "", "dataset": "d", "forget": "class:a", "model": "m", "method": method,
        "seed": seed,
    }  # fmt: skip
    names |= {name: changes.pop(name) for name in tuple(names) if name in changes}
    result = {
        **names, "setting": "5e771296", "method_setting": "3e780d01", "status": "done", "reason": "",
        "weights_changed": True, "device": "cpu", "threads": 2,
        "precision": "fp32", "git_revision": "abc", "versions": {"torch": "2"}, "seconds": {"unlearned": 1.5},
        "peak_mib": {"unlearned": 100.0}, "cost_ratio": 0.1, "overrides": [f"method={method}", f"seed={seed}"],
        **changes,
    }  # fmt: skip
    (folder / "config.yaml").write_text(f"seed: {seed}\n")
    (folder / "result.json").write_text(json.dumps(result))
    if result["status"] != "done":
        sums.write(folder)
        return folder
    rows = []
    for split in SPLITS:
        retrained = {"retain": 0.95, "forget": 0.0, "test": 0.85}[split] + 0.01 * seed
        values = {"original": 1.0, "retrained": retrained, "unlearned": accuracy[split]}
        rows += [(*names.values(), 1, role, split, "accuracy", repr(value)) for role, value in values.items()]
        gap = accuracy[split] - retrained
        rows.append((*names.values(), 1, "unlearned", split, "gap_accuracy", repr(gap)))
    rows.append((*names.values(), 1, "unlearned", "forget", "js_to_retrained", "0.25"))
    rows += [(*names.values(), 1, *row) for row in further]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    logits = np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)
    np.savez(folder / "scores" / "retrained_forget.npz", logits=logits, label=np.zeros(6, int), index=np.arange(6))
    np.savez(folder / "splits.npz", forget=np.arange(6))
    sums.write(folder)
    return folder
