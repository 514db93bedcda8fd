"""Exposure: the score by hand, its null, and the order of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench.evidence import Scores
from unlearnbench.metrics.exposure import exposure


def model(margins):
    """Two classes, the label's logit being `margins` (n,) above the other's: that is the confidence."""
    values = np.asarray(margins, dtype=np.float32)
    logits = np.stack([values, np.zeros_like(values)], axis=1)
    return Scores(logits, np.zeros(len(values), dtype=np.int64), np.arange(len(values)) + 10)


def test_by_hand():
    """Retrained: means 1, 2, 3; variances 2, 0, 2, so the pooled spread is sqrt(4/3)."""
    found = exposure(model([5, 2, 1]), [model([0, 2, 2]), model([2, 2, 4])])
    assert found.spread == pytest.approx(math.sqrt(4 / 3))
    assert found.score == pytest.approx(np.array([4, 0, -2]) / math.sqrt(4 / 3))
    assert found.most(2, np.arange(3)).tolist() == [0, 1]


def test_one_reference_gives_log_odds_and_none_the_confidence_itself():
    one, none = exposure(model([5, 2]), [model([1, 1])]), exposure(model([5, 2]), [])
    assert one.score == pytest.approx([4, 1]) and math.isnan(one.spread)
    assert none.score == pytest.approx([5, 2]) and np.isnan(none.retrained).all()


def test_equal_scores_go_by_position():
    found = exposure(model([1, 1, 1]), [model([0, 0, 0])])
    assert found.most(3, np.array([7, 3, 5])).tolist() == [1, 2, 0]


def test_models_that_all_agree_have_no_spread_to_divide_by():
    found = exposure(model([2, 3]), [model([1, 1]), model([1, 1])])
    assert found.score == pytest.approx([1, 2]) and math.isnan(found.spread)


def test_null():
    """One more retrained model has scores of mean 0 and variance 1 + 1/K."""
    rng = np.random.default_rng(0)
    easy = rng.normal(0, 3, 20000)
    models = [model(easy + rng.normal(0, 2, 20000)) for _ in range(5)]
    found = exposure(models[0], models[1:])
    assert found.score.mean() == pytest.approx(0, abs=0.03) and found.score.var() == pytest.approx(1.25, abs=0.05)
