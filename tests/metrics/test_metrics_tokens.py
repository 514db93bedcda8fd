"""Scores from an answer's tokens: by hand, and the authors' functions as naive loops in float64."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch

from unlearnbench.evidence import Scores
from unlearnbench.metrics.tokens import by_zlib, lowest, min_k, min_k_plus_plus, privleak, standardised
from unlearnbench.tasks.options import spread


def text(rows, ends=0, **extras):
    width = max(map(len, rows))
    tokens = np.array([[*row, *[np.nan] * (width - len(row))] for row in rows])
    count = len(rows)
    extras = {"answer_log_probability": tokens, "answer_end_tokens": np.full(count, ends), **extras}
    return Scores(np.zeros((count, 1), np.float32), np.zeros(count, np.int64), np.arange(count), extras)


def test_the_lowest_share_by_hand():
    scores = text([[-1.0, -5.0, -3.0, -2.0], [-4.0]])
    assert min_k(scores, 0.5).tolist() == [-4.0, -4.0]
    assert min_k(scores, 0.2).tolist() == [-5.0, -4.0]  # at least one token
    assert min_k(scores, 1.0).tolist() == [-2.75, -4.0]


def test_the_end_of_a_turn_does_not_count():
    assert min_k(text([[-1.0, -2.0, -9.0], [-3.0, -9.0]], ends=1), 1.0).tolist() == [-1.5, -3.0]


def authors(vocabulary, tokens, share):
    """mink-plus-plus's scores of one text, token by token, in float64."""
    token, plus = [], []
    for logits, one in zip(vocabulary, tokens, strict=True):
        total = math.log(sum(math.exp(value) for value in logits))
        log = [value - total for value in logits]
        mu = sum(math.exp(value) * value for value in log)
        sigma = sum(math.exp(value) * value**2 for value in log) - mu**2
        token.append(log[one])
        plus.append((log[one] - mu) / math.sqrt(sigma))
    few = int(len(tokens) * share)
    return np.mean(sorted(token)[:few]), np.mean(sorted(plus)[:few]), token


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4, 0.7, 1.0])
def test_both_scores_equal_the_authors(share):
    rng = np.random.default_rng(0)
    vocabulary = rng.normal(0, 3, (23, 50))
    tokens = rng.integers(50, size=23)
    expected, expected_plus, token = authors(vocabulary, tokens, share)
    mean, deviation = spread(torch.from_numpy(vocabulary).log_softmax(1))
    found = np.array([token])
    assert lowest(found, share)[0] == pytest.approx(expected, abs=1e-12)
    plus = standardised(found, mean.numpy()[None], deviation.numpy()[None])
    assert lowest(plus, share)[0] == pytest.approx(expected_plus, abs=1e-12)
    scores = text(
        [token], answer_vocabulary_mean=mean.numpy()[None], answer_vocabulary_deviation=deviation[None].numpy()
    )
    assert min_k_plus_plus(scores, share)[0] == pytest.approx(expected_plus, abs=1e-12)


def test_the_spread_of_even_certain_and_partly_impossible_tokens():
    rows = torch.full((600, 8), -math.log(8.0))
    rows[1] = torch.tensor([0.0] + [-math.inf] * 7)
    rows[2] = torch.tensor([math.log(0.5)] * 2 + [-math.inf] * 6)
    rows[3] = torch.tensor([math.log(0.8), math.log(0.2)] + [-math.inf] * 6)
    mean, deviation = spread(rows)
    assert mean.shape == deviation.shape == (600,) and torch.isfinite(mean).all()
    assert mean[:3].tolist() == pytest.approx([-math.log(8), 0.0, -math.log(2)])
    assert deviation[:3].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    assert deviation[3] == pytest.approx(math.sqrt(0.8 * 0.2) * math.log(4))
    assert np.isfinite(standardised(np.array([-0.1]), mean[1:2].numpy(), deviation[1:2].numpy())).all()


def test_zlib_by_hand_and_as_in_the_authors_code():
    words = ["the same " * 40, "Zq7 fjord waltz, brick!"]
    size = [len(zlib.compress(bytes(one, "utf-8"))) for one in words]
    scores = text([[-1.0, -2.0], [-3.0]], answer_zlib_bytes=np.array(size))
    assert by_zlib(scores).tolist() == [-1.5 / size[0], -3.0 / size[1]]


def test_privleak_by_hand_and_at_both_ends():
    assert privleak(0.6, 0.5) == pytest.approx(20.0)
    assert privleak(0.0, 0.5) == -100.0  # every forget row looks more like a member than every held-out row
    assert privleak(1.0, 0.5) == 100.0 and privleak(0.5, 0.5) == 0.0
    assert privleak(0.5, 0.0) is None
