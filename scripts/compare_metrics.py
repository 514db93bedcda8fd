#!/usr/bin/env python3
"""Run the authors' own KLoM and forgetting score beside ours, on the same arrays.

    python scripts/compare_metrics.py --code FOLDER

FOLDER holds clones of EasyDUB-code, data-unlearning-bench and unlearning_evaluation. Their functions run here: look at
them first. DeepMind's file needs two patches to run at all: `.cuda()` does nothing, and `assert thr_eps` becomes
`assert len(thr_eps)`. It is run a second time with float64 in place of float32. data-unlearning-bench divides Q by its
sum, 1.00001 for one empty bin; it is run a second time without that. Prints the largest differences.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from compare_authors import StandIn, without_cuda

from unlearnbench.evidence import Floats, Scores
from unlearnbench.metrics.confidence import confidence
from unlearnbench.metrics.forgetting_score import epsilons, forgetting_score
from unlearnbench.metrics.klom import klom

RUNS = "assert thr_eps, ", "assert len(thr_eps), "
DOUBLE = "torch.float32", "torch.float64"
ENTROPY = "stats.entropy(pk=p_bin_probs, qk=q_bin_probs_safe)"
UNSCALED = ENTROPY, f"{ENTROPY} - np.log(q_bin_probs_safe.sum())"


def loaded(file: Path, patches: Sequence[tuple[str, str]] = ()) -> Any:
    """Return a file of somebody's repository as a module, with words replaced in its text."""
    text = file.read_text()
    for old, new in patches:
        if old not in text:
            raise SystemExit(f"{file} has no {old!r}: not the version that this script knows")
        text = text.replace(old, new)
    module = ModuleType(file.stem)
    exec(compile(text, str(file), "exec"), vars(module))
    return module


def margins(models: int, rows: int, seed: int) -> tuple[Floats, Floats]:
    """Return margins (models, rows) of two kinds of models: apart, of other widths, saturated, and alike."""
    rng = np.random.default_rng(seed)
    place, width = rng.normal(0, 3, rows), rng.lognormal(0, 0.7, rows)
    one = rng.normal(place, width, (models, rows))
    other = rng.normal(place + rng.normal(0, 1, rows), width * rng.lognormal(0, 0.4, rows), (models, rows))
    one[0, 0], other[0, 0] = 400, -400
    one[:, 1] += 60
    other[:, 2] = np.round(other[:, 2])  # ties
    return one, other


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns, and its seconds."""
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def compare_klom(code: Path) -> None:
    """Print how far our KLoM is from both published functions."""
    sys.modules["unlearning_bench.paths"] = StandIn("unlearning_bench.paths")
    easy = loaded(code / "EasyDUB-code" / "easydub" / "eval.py").klom_from_margins
    bench = code / "data-unlearning-bench" / "unlearning_bench" / "eval.py"
    first, unscaled = (loaded(bench, patches).kl_from_margins for patches in ([], [UNSCALED]))
    for models in (8, 64, 200):
        unlearned, oracle = margins(models, 300, models)
        mine, theirs = torch.from_numpy(unlearned), torch.from_numpy(oracle)
        forward, reverse = (klom(unlearned, oracle, 20, one, published=True) for one in ("forward", "reverse"))
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            of_easy, of_first, of_unscaled = (one(theirs, mine) for one in (easy, first, unscaled))
        for name, apart in {
            "Easy Data Unlearning Bench": of_easy - forward,
            "data-unlearning-bench, arguments as in its run.py": of_first - reverse,
            "and with Q as it is": of_unscaled - reverse,
            "ours, which keeps the largest margin, from Easy Data Unlearning Bench": of_easy - klom(unlearned, oracle),
        }.items():
            print(f"klom, {models} models, {name}: largest difference {np.abs(apart).max():.1e}")


def compare_forgetting(code: Path) -> None:
    """Print how far our forgetting score is from DeepMind's, as it is and in float64."""
    file = code / "unlearning_evaluation" / "metric.py"
    for models, rows in ((8, 40), (32, 20)):
        unlearned, retrained = margins(models, rows, models)
        (mine, seconds) = timed(lambda: epsilons(unlearned, retrained))  # noqa: B023
        for name, patches in (("patched to run", [RUNS]), ("and in float64", [RUNS, DOUBLE])):
            torch.set_default_dtype(torch.float64 if DOUBLE in patches else torch.float32)
            theirs = loaded(file, patches)
            kept: list[Floats] = []
            inner = theirs._get_epsilons
            theirs._get_epsilons = lambda *given, inner=inner, kept=kept, **named: (
                kept.append(inner(*given, **named)) or kept[-1]
            )
            with without_cuda(), warnings.catch_warnings(action="ignore"):
                score, their_seconds = timed(lambda: theirs.compute_forget_score_from_confs(unlearned, retrained))  # noqa: B023
            apart = np.abs(np.asarray(kept[0]) - mine).max()
            print(
                f"forgetting score, {models} models, {name}: largest difference of an epsilon {apart:.1e}, of the "
                f"score {abs(score - forgetting_score(mine, models)):.1e}; {their_seconds / seconds:.0f} times as long"
            )
    torch.set_default_dtype(torch.float32)


def compare_confidence(code: Path) -> None:
    """Print how far our confidence is from DeepMind's."""
    theirs = loaded(code / "unlearning_evaluation" / "metric.py")
    logits = np.random.default_rng(0).normal(0, 4, (500, 10)).astype(np.float32)
    label = np.random.default_rng(1).integers(0, 10, 500)
    mine = confidence(Scores(logits, label, np.arange(500)))
    for name, values in (("float32", logits.copy()), ("float64", logits.astype(np.float64))):
        _, found = theirs.compute_logit_scaled_confidence(values, label)
        print(f"confidence of logits in {name}: largest difference {np.abs(found - mine).max():.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--code", type=Path, required=True, help="the folder with the clones")
    place = parser.parse_args().code.resolve()
    compare_klom(place)
    compare_forgetting(place)
    compare_confidence(place)
