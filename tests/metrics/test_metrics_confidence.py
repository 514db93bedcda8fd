"""Confidence: the label's log odds, with and without answer options."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.evidence import Scores
from unlearnbench.metrics.confidence import confidence


def scores(logits: list[list[float]], label: list[int], **extras: object) -> Scores:
    """Return scores with these logits and labels."""
    arrays = {name: np.asarray(values) for name, values in extras.items()}
    return Scores(np.array(logits, np.float32), np.array(label), np.arange(len(label)), arrays)


def test_it_is_the_log_odds_of_the_label() -> None:
    logits = [[1.0, 2.0, -1.0], [0.5, 0.5, 0.5], [0.0, -3.0, 2.0]]
    mine = scores(logits, [1, 0, 1])
    p = mine.probabilities[np.arange(3), mine.label]
    assert confidence(mine) == pytest.approx(np.log(p / (1 - p)), rel=1e-12)
    assert confidence(mine)[1] == pytest.approx(-np.log(2), rel=1e-12)
    assert confidence(mine).dtype == np.float64


def test_a_label_that_is_nearly_certain_keeps_its_digits() -> None:
    """1 - p is 0 in float64 here: the margin is still exact."""
    assert confidence(scores([[60.0, 0.0], [0.0, 60.0]], [0, 0])) == pytest.approx([60.0, -60.0], rel=1e-14)


def test_it_ends_at_100_and_options_that_do_not_exist_count_nothing() -> None:
    infinite = -float("inf")
    mine = scores([[500.0, 0.0, infinite], [1.0, 3.0, infinite], [2.0, infinite, infinite]], [0, 0, 0])
    assert list(confidence(mine)) == [100.0, -2.0, 100.0]


def test_without_options_it_is_the_odds_of_the_mean_token_likelihood() -> None:
    tokens = np.log([[0.5, 0.5], [0.9, 0.4], [1.0, 1.0]])
    tokens[1, 1] = np.nan
    mine = scores([[0.0], [0.0], [0.0]], [0, 0, 0], answer_log_probability=tokens)
    assert confidence(mine) == pytest.approx([0.0, np.log(9), 100.0], abs=1e-12)
