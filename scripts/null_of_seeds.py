#!/usr/bin/env python3
"""Print how often KLoM and the forgetting score do not mark a method that is perfect: the table of decision 0041.

    python scripts/null_of_seeds.py

Confidences of 100 rows: each model has noise of its own on every row, of standard deviation 1, and a part of .5 that
all of its rows share, or none (before and behind the comma). Unlearned and retrained models come from one distribution.
"""

import numpy as np

from unlearnbench.across.cell import Across, Models, over_draws
from unlearnbench.across.forgetting_score import ForgettingScoreAcross
from unlearnbench.across.klom import KlomAcross

KLOM = KlomAcross(bins=20, fewest=2, draws=20)
SCORE = ForgettingScoreAcross(delta=1e-5, fewest=3, draws=10)
ASKED = ((KLOM, ("klom_gaussian", "klom_gaussian_p95"), 120), (SCORE, ("forgetting_score",), 40))
ROWS = 100
SPLITS = ("forget", "retain", "test")


def drawn(count: int, shared: float, means: np.ndarray, generator: np.random.Generator) -> Models:
    """Return models that differ by chance alone."""
    noise = generator.normal(size=(count, ROWS)) + shared * generator.normal(size=(count, 1))
    return Models(dict.fromkeys(SPLITS, means + noise), dict.fromkeys(SPLITS, np.full(count, 0.9)))


def missed(asked: Across, metrics: tuple[str, ...], times: int, counts: tuple[int, int], shared: float) -> np.ndarray:
    """Return how often a perfect method is not marked, by metric."""
    generator = np.random.default_rng(0)
    within = []
    for _ in range(times):
        means = generator.normal(0, 2, ROWS)
        one, other = (drawn(count, shared, means, generator) for count in counts)
        found = {
            each.metric: each for each in over_draws(asked, "null", {"": one}, other)[""] if each.split == "forget"
        }
        within.append([found[metric].within for metric in metrics])
    return 1 - np.mean(within, axis=0)


def main() -> None:
    """Print one line for each number of models."""
    print("unlearned, retrained", *(f"{metric:>18}" for _, metrics, _ in ASKED for metric in metrics))
    for counts in ((4, 8), (8, 16), (16, 16), (16, 32)):
        cells = []
        for asked, metrics, times in ASKED:
            some, none = (missed(asked, metrics, times, counts, shared) for shared in (0.5, 0.0))
            cells += [f"{f'{one:.2f}, {other:.2f}':>18}" for one, other in zip(some, none, strict=True)]
        print(f"{counts[0]:>9}, {counts[1]:>9}", *cells, flush=True)


if __name__ == "__main__":
    main()
