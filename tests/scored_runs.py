"""Run folders whose rows are computed from made-up scores, as a run computes them: what a bundle can check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from unlearnbench.evidence import Scores
from unlearnbench.files import sums
from unlearnbench.metrics import catalogue
from unlearnbench.metrics.attack import label_probability as confidence
from unlearnbench.metrics.measure import Row, measure
from unlearnbench.metrics.referenced import rmia
from unlearnbench.metrics.told_apart import leave_one_out
from unlearnbench.metrics.unreferenced import unreferenced
from unlearnbench.results.identity import Identity
from unlearnbench.results.rows import write_metrics
from unlearnbench.results.scores import write_scores

ROWS = {"retain": np.arange(40), "forget": np.arange(40, 60), "test": np.arange(60, 90)}
CONFIG = """\
forget:
  _target_: unlearnbench.forget.random.Random
method:
  _target_: unlearnbench.methods.finetune.Finetune
  epochs: 2
eval:
  standard:
    _target_: unlearnbench.evaluations.standard.Standard
  rmia:
    _target_: unlearnbench.evaluations.rmia.Rmia
    gamma: 1.0
    a: 0.3
    against: auto
  held_out: test
eval_seed: null
"""


def model(name: str) -> dict[str, Scores]:
    """Return what a model of this name says of all rows: its name seeds it."""
    drawn = np.random.default_rng(list(name.encode()))
    labels = np.arange(100) % 3
    return {
        split: Scores(
            (drawn.normal(size=(len(rows), 3)) + 2 * np.eye(3)[labels[rows]]).astype(np.float32), labels[rows], rows
        )
        for split, rows in ROWS.items()
    }


def scored_run(
    outputs: Path, run_id: str, method: str, references: int = 2, forget: str = "random:0.2", **changes: object
) -> Path:
    """Write the folder of a finished run of a method; runs share the original and the retrained models."""
    folder = outputs / "runs" / f"{method}_m_d_{run_id}"
    folder.mkdir(parents=True)
    original, unlearned = model("original"), model(method)
    retrained = {f"retrained_{number}": model(f"retrained {number}") for number in range(references)}
    networks = {f"incompetent_{number}": {"forget": model(f"network {number}")["forget"]} for number in range(3)}
    of: tuple[Mapping[str, Scores], ...] = tuple(retrained.values())
    rows = measure(original, of, unlearned, tuple(networks.values()), False, 0, catalogue())
    if not references:
        rows += list(unreferenced(rows, original, unlearned, False, 0, catalogue()))
    else:
        attack = partial(rmia, a=0.3, gamma=1.0)
        rows += leave_one_out("rmia", attack, confidence, original, of, unlearned, False)
    rows.append(Row("unlearned", "forget", "gap_relearn_area", 0.125))  # needs more than scores
    identity = Identity(run_id, "", "d", forget, "m", method, 0)
    write_metrics(folder, identity, [(1, row) for row in rows])
    write_scores(folder, ROWS, {"original": original, **retrained, "unlearned": unlearned, **networks})
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "exposed.csv").write_text("index,id\n40,anna\n")
    result = {
        **vars(identity), "setting": "5e771296", "method_setting": run_id, "status": "done", "reason": "",
        "weights_changed": True, "device": "cpu", "threads": 1, "precision": "fp32", "versions": {"torch": "2"},
        "seconds": {"original": 2.0, "unlearned": 1.5}, "overrides": [f"method={method}"], "references": references,
        "rows": {name: len(rows) for name, rows in ROWS.items()}, "requests": 1, "whole_class": False,
        "sha256": {"weights": {"unlearned": "ab" * 32}, "data": {"forget": "cd" * 32}}, **changes,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    sums.write(folder)
    return folder
