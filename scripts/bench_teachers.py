#!/usr/bin/env python3
"""Time methods that ask a frozen teacher at each step, and once for each example (docs/decisions/0056).

    python scripts/bench_teachers.py [--methods npo delete ...] [--rounds 4] [WORD ...]

`clinical_notes` on a fresh `llama_tiny` in one thread, each method at its defaults; WORDs are further configuration.
Both ways run in turn, and the best of each counts. Printed are the ratio, the seconds of asking once, and how far the
weights of the two are apart at most.
"""

import argparse
import copy
import math
import time
from typing import Any

import torch
from torch import nn

from unlearnbench.assemble import assemble
from unlearnbench.experiment import build
from unlearnbench.machine.bars import Quiet
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from unlearnbench.techniques import remembered
from unlearnbench.training.record import Record

METHODS = ["npo", "dpo", "undial", "delete", "distill", "scrub", "kl_min", "rmu"]
ROOM = remembered.MOST


def measure(name: str, rounds: int, words: list[str], benches: Benches) -> str:
    """Return a method's line."""
    experiment = assemble(prepare(["dataset=clinical_notes", "model=llama_tiny", *words, f"method={name}"])).experiment
    bench = benches.of(experiment)
    unlearned: Any = build(experiment, bench)[0].models.unlearned
    torch.manual_seed(0)
    original = bench.task.prepare(bench.spec.build(bench.info)).eval()
    best, models = {ROOM: math.inf, 0: math.inf}, dict[int, nn.Module]()
    for _ in range(rounds):
        for room in best:
            remembered.MOST = room
            problem = unlearned.problem(copy.deepcopy(original).requires_grad_(False), Record(), Quiet())
            student = copy.deepcopy(original).requires_grad_(True)
            torch.manual_seed(0)
            began = time.perf_counter()
            models[room] = experiment.method(student, problem)
            best[room] = min(best[room], time.perf_counter() - began)
    pairs = zip(models[ROOM].parameters(), models[0].parameters(), strict=True)
    apart = max(float((one - other).detach().abs().max()) for one, other in pairs)
    return f"{name}: {best[0] / best[ROOM]:.2f} times, {best[ROOM]:.1f} s, weights apart {apart:.1e}"


def main() -> None:
    """Measure each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(1)
    benches = Benches()
    for name in given.methods:
        print(measure(name, given.rounds, given.words, benches), flush=True)


if __name__ == "__main__":
    main()
