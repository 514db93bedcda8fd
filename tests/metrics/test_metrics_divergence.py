"""Divergences against hand-computed values, scipy, and the published ZRF."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from measured import METRICS, value
from unlearnbench.evidence import BySplit, Evidence, Scores
from unlearnbench.metrics import divergence as d

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
Q = np.array([[1 / 3, 1 / 3, 1 / 3], [0.2, 0.5, 0.3]])
ONE, OTHER = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])

ALL = ("kl_from_retrained", "js_to_retrained", "js_published", "activation_distance", "zrf", "zrf_published")


def model(probabilities: NDArray[np.float64]) -> BySplit:
    rows = len(probabilities)
    with np.errstate(divide="ignore"):
        scores = Scores(np.log(probabilities), np.zeros(rows, dtype=np.int64), np.arange(rows))
    return {"forget": scores, "retain": scores, "test_forget": scores}


def against(subject: NDArray[np.float64], *others: NDArray[np.float64]) -> Evidence:
    models = tuple(model(other) for other in others)
    return Evidence(model(subject), model(subject), models, models, False)


def test_zrf_published_reproduces_the_published_number() -> None:
    assert value("zrf_published", against(P, Q), "forget") == pytest.approx(0.959815, abs=1e-6)


def published(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """The authors' `JSDiv` (metrics.py) in torch: kl_div with its default mean, the mixture as KL's first side."""
    import torch
    from torch.nn import functional

    one, other = torch.from_numpy(p), torch.from_numpy(q)
    mixture = (one + other) / 2
    sides = [functional.kl_div(side.log(), mixture, reduction="mean") for side in (one, other)]
    return float(sum(sides) / 2)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("classes", [2, 20])
def test_js_published_equals_the_authors_code(classes: int) -> None:
    rng = np.random.default_rng(classes)
    subject, *retrained = (rng.dirichlet(np.full(classes, 0.3), size=50) for _ in range(3))
    expected = np.mean([published(subject, other) for other in retrained])
    for split in ("forget", "test_forget"):
        assert value("js_published", against(subject, *retrained), split) == pytest.approx(expected)
        assert value("zrf_published", against(subject, *retrained), split) == pytest.approx(1 - expected)


def test_js_published_is_one_minus_zrf_published_and_not_the_divergence_in_bits() -> None:
    """By hand of metrics.md's example: 1 - .959815, where true bits are 1 - .844886."""
    assert value("js_published", against(P, Q), "test_forget") == pytest.approx(1 - 0.959815, abs=1e-6)
    assert value("js_to_retrained", against(P, Q), "test_forget") == pytest.approx(1 - 0.844886, abs=1e-6)


def test_zrf_is_one_minus_the_true_divergence_in_bits() -> None:
    assert value("zrf", against(P, Q), "forget") == pytest.approx(0.844886, abs=1e-6)
    assert 1 - d.js_bits(P, Q).mean() * np.log(2) == pytest.approx(0.892483, abs=1e-6)


def test_js_is_symmetric_and_equals_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    assert d.js_bits(P, Q) == pytest.approx(jensenshannon(P, Q, axis=1, base=2) ** 2)
    assert d.js_bits(P, Q) == pytest.approx(d.js_bits(Q, P))


def test_kl_goes_from_the_retrained_to_the_model() -> None:
    evidence = against(np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]]))
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert value("kl_from_retrained", evidence, "retain") == pytest.approx(expected)


def test_kl_comes_from_log_probabilities_that_underflow_as_probabilities() -> None:
    sure = {"forget": Scores(np.array([[2000.0, 0.0]]), np.zeros(1, int), np.arange(1))}
    even = {"forget": Scores(np.array([[0.0, 0.0]]), np.zeros(1, int), np.arange(1))}
    found = value("kl_from_retrained", Evidence(sure, sure, (even,), (), False), "forget")
    assert found == pytest.approx(1000 - np.log(2))


def test_extremes() -> None:
    same, apart = against(P, P), against(ONE, OTHER)
    for name in ALL[:4]:
        assert value(name, same, "forget") == pytest.approx(0, abs=1e-15)
    for name in ALL[4:]:
        assert value(name, same, "forget") == pytest.approx(1)
    assert value("js_to_retrained", apart, "forget") == 1
    assert value("activation_distance", apart, "forget") == pytest.approx(METRICS["activation_distance"].high)
    assert value("zrf", apart, "forget") == 0
    assert value("kl_from_retrained", apart, "forget") == pytest.approx(-d.LOWEST_LOG)
    assert METRICS["js_published"].high > value("js_published", apart, "forget") == pytest.approx(21.49, abs=0.01)
    assert METRICS["zrf_published"].low < value("zrf_published", apart, "forget") == pytest.approx(-20.49, abs=0.01)


def test_activation_distance_by_hand() -> None:
    evidence = against(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.8, 0.2], [1.0, 0.0]]))
    assert value("activation_distance", evidence, "forget") == pytest.approx(0.3 * np.sqrt(2) / 2)


def test_padded_options_change_nothing() -> None:
    def padded(p: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([p, np.zeros((len(p), 2))], axis=1)

    for name in ALL:
        expected = value(name, against(P, Q), "forget")
        assert value(name, against(padded(P), padded(Q)), "forget") == pytest.approx(expected), name


def test_several_references_and_networks_are_averaged() -> None:
    for name in ALL:
        apart = [value(name, against(P, other), "forget") for other in (Q, P)]
        assert value(name, against(P, Q, P), "forget") == pytest.approx(np.mean(apart)), name


def test_zrf_without_an_incompetent_network_says_so() -> None:
    with pytest.raises(ValueError, match="incompetent"):
        value("zrf", against(P), "forget")
