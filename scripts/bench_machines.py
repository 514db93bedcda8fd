#!/usr/bin/env python3
"""Compare a support vector machine's answers with those by a series through its values (docs/decisions/0057).

    python scripts/bench_machines.py [--machines 200] [--targets 5400]

Each machine is that of a membership attack, fitted to 1,000 random examples a side: shares, losses, and losses of which
half are 0. Printed are how many answers differ, and how many times as long the machine takes for all of them, without
and with its fit.
"""

import argparse
import time

import numpy as np
from sklearn.svm import SVC

from unlearnbench.metrics.attack import _predicted

SIDE = 1000


def values(kind: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values of one of three kinds."""
    if kind == 0:
        return rng.random(count)
    losses = rng.exponential(rng.uniform(0.1, 3), count)
    return losses if kind == 1 else np.where(rng.random(count) < 0.5, 0.0, losses)


def main() -> None:
    """Fit the machines, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--targets", type=int, default=5400)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    differ, seconds = 0, np.zeros(3)
    for number in range(given.machines):
        members, others, targets = (values(number % 3, size, rng) for size in (SIDE, SIDE, given.targets))
        times = [time.process_time()]
        machine = SVC(C=3, gamma="auto", kernel="rbf")
        machine.fit(np.concatenate([members, others])[:, None], np.repeat([1, 0], SIDE))
        times.append(time.process_time())
        expected = machine.predict(targets[:, None]) > 0
        times.append(time.process_time())
        differ += int((_predicted(machine, targets) != expected).sum())
        seconds += np.diff([*times, time.process_time()])
    fit, asked, series = seconds
    print(f"{given.machines} machines, {given.targets} answers each: {differ} differ")
    print(f"asking takes {asked / series:.0f} times as long, with the fit {(fit + asked) / (fit + series):.1f} times")


if __name__ == "__main__":
    main()
