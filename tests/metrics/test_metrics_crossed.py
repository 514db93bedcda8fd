"""The mean over seeds and draws: by hand, and how often its interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench.metrics.crossed import mean_of


def test_one_side_alone_is_the_usual_interval() -> None:
    for units in ([(0, 0), (1, 0), (2, 0)], [(0, 0), (0, 1), (0, 2)], [(0, 0), (1, 1), (2, 2)]):
        found = mean_of(dict(zip(units, (1.0, 2.0, 3.0), strict=True)))
        assert (found.value, found.clusters) == (2.0, 3) and found.error == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(mean_of({(0, 0): 1.0}).half) and mean_of({}).clusters == 0


def test_seeds_and_draws_by_hand() -> None:
    """Residuals -1.5, -.5, .5, 1.5: the variance by seed is 1, by draw .25, by pair 5 / 12. By seed it is the most."""
    found = mean_of({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 4.0})
    assert (found.value, found.clusters) == (2.5, 2) and found.error == pytest.approx(1.0)
    found = mean_of(
        {(0, 0): 1.0, (0, 1): 4.0, (1, 0): 4.0, (1, 1): 1.0}
    )  # neither shares anything: by seed 0, by draw 0
    assert found.error == 0.0


@pytest.mark.parametrize("spread", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0)])
def test_the_interval_holds_the_truth_whatever_is_shared(spread: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        by_seed, by_draw, own = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 3))
        values = spread[0] * by_seed[:, None] + spread[1] * by_draw + spread[2] * own
        found = mean_of({(s, d): float(values[s, d]) for s in range(3) for d in range(3)})
        held += abs(found.value) <= found.half
    assert held >= 0.92 * 300  # taken as nine independent runs: .63, .64 and .76
