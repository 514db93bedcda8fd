"""Repeat one small unlearning alone and beside other work, and print how far each kind of cost ratio spreads.

The table of docs/decisions/0054-cost-as-work.md: python scripts/measure_cost_ratios.py. Takes about five minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean, stdev

import unlearnbench

WORDS = (
    "dataset=fashion dataset.limit=2000 dataset.limit_test=200 model=tiny_cnn train.epochs=4 method=distill "
    "eval=[standard] plots=false save_model=false"
)
REPEATS = 8
RATIOS = ("cost_ratio", "compute_ratio", "examples_ratio")


@contextmanager
def beside(processes: int) -> Iterator[None]:
    """Let some processes count for ever inside the block."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def measured(threads: int, processes: int) -> list[dict[str, float]]:
    """Return the ratios of each repetition, and the wall-clock and CPU seconds of its retraining."""
    found = []
    with beside(processes):
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as outputs:
                folder = unlearnbench.run(f"{WORDS} threads={threads} outputs={outputs}").folder
                result = json.loads((folder / "result.json").read_text())
            seconds, cpu = (result[kind]["retrained_0"] for kind in ("seconds", "cpu_seconds"))
            found.append({name: result[name] for name in RATIOS} | {"wall": seconds, "cpu": cpu})
    return found


def main() -> None:
    """Print a line for each number of threads and of processes beside them."""
    measured(1, 0)  # what is done once: imports, data
    for threads, processes in ((1, 0), (1, 1), (1, 4), (2, 0)):
        rows = measured(threads, processes)
        cells = ", ".join(
            f"{name} {mean(row[name] for row in rows):.3f} ± {stdev(row[name] for row in rows):.3f}"
            for name in (*RATIOS, "wall", "cpu")
        )
        print(f"{threads} threads beside {processes} processes: {cells}", flush=True)


if __name__ == "__main__":
    main()
