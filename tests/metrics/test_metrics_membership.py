"""Membership attacks: hand-made features, both extremes, and the published classifier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measured import METRICS, value
from unlearnbench.evidence import Evidence, Scores
from unlearnbench.metrics import attack, membership
from unlearnbench.metrics.classification import losses
from unlearnbench.metrics.measure import measure

ATTACKS = [each for each in METRICS.values() if each.function.__module__ == membership.__name__]
TABLE = {share.name: share for share in membership.SHARES}


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def split(confidence: np.ndarray, start: int = 0) -> Scores:
    """Two classes, label 0 with the given probability."""
    logits = np.stack([np.log(confidence), np.log1p(-confidence)], axis=1)
    return Scores(logits, np.zeros(len(confidence), dtype=np.int64), np.arange(start, start + len(confidence)))


def evidence(retain: np.ndarray, forget: np.ndarray, test: np.ndarray, **more: np.ndarray) -> Evidence:
    parts = {"retain": retain, "forget": forget, "test": test, **more}
    subject = {name: split(values, 1000 * start) for start, (name, values) in enumerate(parts.items())}
    return Evidence(subject, subject, (), (), bool(more), seed=3)


def test_threshold_is_the_midpoint_of_the_best_cut() -> None:
    rule = attack.best_threshold(floats(0.9, 0.8, 0.3), floats(0.1, 0.2, 0.7))
    assert rule == attack.Threshold(pytest.approx(0.25), True)
    assert rule.calls_member(floats(0.24, 0.26)).tolist() == [False, True]


def test_threshold_looks_in_both_directions() -> None:
    rule = attack.best_threshold(floats(0.1, 0.2), floats(0.8, 0.9, 0.7))
    assert rule == attack.Threshold(pytest.approx(0.45), False)
    assert rule.calls_member(floats(0.1, 0.9)).tolist() == [True, False]


def test_threshold_weighs_both_sides_equally() -> None:
    """Accuracy alone would call everybody a member: 95 % of the examples are."""
    members = np.repeat([1.0, 2.0], [50, 45])
    assert attack.best_threshold(members, np.ones(5)) == attack.Threshold(1.5, True)


def test_equal_values_call_nobody_a_member() -> None:
    assert attack.by_threshold(np.ones(4), np.ones(3), floats(0, 1, 2)) == 0


def test_threshold_equals_a_search_over_all_cuts() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        members, others = rng.integers(0, 8, 12) / 8, rng.integers(0, 8, 7) / 8

        def balanced(called, members=members, others=others) -> float:
            return (called(members).mean() + 1 - called(others).mean()) / 2

        best = max(balanced(lambda x, t=t, s=s: s * x >= s * t) for t in np.arange(-1, 17) / 16 for s in (1, -1))
        assert balanced(attack.best_threshold(members, others).calls_member) == pytest.approx(best)


def test_threshold_between_neighbouring_floats_still_separates() -> None:
    low = 1.0
    high = np.nextafter(low, 2)
    assert attack.by_threshold(floats(high), floats(low), floats(low, high)) == 0.5


def test_features_by_hand() -> None:
    scores = Scores(np.log(floats(0.7, 0.2, 0.1))[None], np.array([1]), np.array([0]))
    assert attack.entropy(scores)[0] == pytest.approx(-sum(p * np.log(p) for p in (0.7, 0.2, 0.1)))
    assert attack.label_probability(scores)[0] == pytest.approx(0.2)
    assert attack.correctness(scores)[0] == 0
    expected = -0.8 * np.log(0.2) - 0.7 * np.log(0.3) - 0.1 * np.log(0.9)
    assert attack.modified_entropy(scores)[0] == pytest.approx(expected)


def test_features_of_a_saturated_model_are_finite() -> None:
    logits = np.array([[5000.0, 0.0, -np.inf], [5000.0, 0.0, -np.inf]])
    scores = Scores(logits, np.array([0, 1]), np.arange(2))
    assert attack.entropy(scores).tolist() == [0, 0]
    assert attack.modified_entropy(scores) == pytest.approx([0, 5000 + 30 * np.log(10)])
    assert attack.label_probability(scores).tolist() == [1, 0]


def test_each_feature_meets_each_attack() -> None:
    features = {attack.entropy, attack.label_probability, attack.correctness, losses, attack.modified_entropy}
    met = {(share.feature, share.attack) for share in membership.SHARES}
    assert met == {(feature, by) for feature in features for by in (attack.by_threshold, attack.by_svc)}
    assert len(ATTACKS) == len(met) + 2


@pytest.mark.parametrize("name", TABLE)
def test_extremes(name: str) -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.uniform(0.9, 0.95, 60), rng.uniform(0.2, 0.4, 40)
    looks_trained_on = value(name, evidence(known, known[:20], unknown), "forget")
    looks_new = value(name, evidence(known, unknown[:20], unknown), "forget")
    assert (looks_trained_on, looks_new) == ((1, 0) if "mia_entropy" in name else (0, 1))


def test_hand_computed_shares() -> None:
    found = evidence(floats(0.9, 0.8, 0.95), floats(0.97, 0.85, 0.3, 0.55), floats(0.6, 0.4, 0.7))
    assert value("mia_confidence", found, "forget") == 0.5
    assert value("mia_loss", found, "forget") == 0.5
    assert value("mia_entropy", found, "forget") == 0.5
    assert value("mia_correctness", found, "forget") == 0.25


def test_svc_equals_the_published_classifier() -> None:
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    members, others, targets = rng.integers(0, 20, 90) / 20, rng.integers(5, 25, 60) / 20, rng.uniform(0, 1.3, 500)
    theirs = SVC(C=3, gamma="auto", kernel="rbf", class_weight="balanced")
    theirs.fit(np.concatenate([members, others])[:, None], np.repeat([1, 0], [90, 60]))
    assert attack.by_svc(members, others, targets) == theirs.predict(targets[:, None]).mean()


RANGES = {
    "shares": lambda rng, n: rng.random(n),
    "losses": lambda rng, n: rng.exponential(3, n),
    "saturated": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(0.01, n)),
    "two values": lambda rng, n: (rng.random(n) < 0.9).astype(float),
    "wider than the series can follow": lambda rng, n: rng.normal(0, 40, n),
}


@pytest.mark.parametrize("name", RANGES)
def test_the_series_in_place_of_a_machine_gives_its_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    members, others, targets = (RANGES[name](rng, size) for size in (300, 300, 2000))
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.concatenate([members, others.max() - others])[:, None], np.repeat([1, 0], 300))
    expected = machine.predict(targets[:, None])
    asked: list[int] = []
    monkeypatch.setattr(machine, "predict", lambda some: asked.append(len(some)) or SVC.predict(machine, some))
    found = attack._predicted(machine, targets)
    assert (found == expected).all() and 0 < found.sum() < len(targets)
    assert sum(asked) < 20 or name.startswith("wider"), "most answers are the series' own"


def test_svc_sees_at_most_a_thousand_a_side() -> None:
    seen: list[int] = []

    def spy(*sides: np.ndarray) -> float:
        seen.extend(map(len, sides))
        return 0.0

    rng = np.random.default_rng(0)
    replace(TABLE["mia_loss_svc"], attack=spy).of(evidence(rng.random(3000), rng.random(7), rng.random(1500)))
    assert seen == [1000, 1000, 7]


def test_members_are_a_retain_sample_of_tests_size_but_for_entropy() -> None:
    seen: list[int] = []

    def spy(members: np.ndarray, others: np.ndarray, targets: np.ndarray) -> float:
        seen.extend([len(members), len(others), len(targets)])
        return 0.25

    found = evidence(np.full(30, 0.5), np.full(5, 0.5), np.full(12, 0.5))
    assert replace(TABLE["mia_confidence"], attack=spy).of(found) == 0.75
    assert replace(TABLE["mia_entropy"], attack=spy).of(found) == 0.25
    assert seen == [12, 12, 5, 30, 12, 5]


def test_draw_depends_on_the_seed_but_not_on_the_order_of_rows() -> None:
    values, index = np.arange(100.0), np.arange(100)
    shuffled = np.random.default_rng(5).permutation(100)

    def draw(order: np.ndarray, seed: int) -> list[float]:
        return attack.draw(values[order], index[order], 10, np.random.default_rng(seed)).tolist()

    assert draw(index, 0) == draw(shuffled, 0) != draw(index, 1)
    assert len(set(draw(index, 0))) == 10


def test_auc_equals_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 9, 40) / 1.0, rng.integers(2, 11, 30) / 1.0
    theirs = roc_auc_score(np.repeat([1, 0], [40, 30]), np.concatenate([members, others]))
    assert attack.area_under_curve(members, others) == pytest.approx(theirs)


def test_a_regression_that_saw_one_value_calls_nobody_a_member() -> None:
    """Its intercept alone would: a fold may train on one member more than others."""
    rare = np.where(np.arange(11) == 0, 0.7, 0.0)
    assert attack.by_logistic_regression(np.zeros(11), rare, 1) == (0.5, 0.5)
    assert attack.by_logistic_regression(np.zeros(12), np.zeros(12), 0) == (0.5, 0.5)


def test_mia_auc_is_one_where_forget_stands_out_and_half_where_it_cannot() -> None:
    rng = np.random.default_rng(0)
    retain, sure, unsure = rng.random(50), rng.uniform(0.9, 0.99, 40), rng.uniform(0.2, 0.3, 60)
    told = evidence(retain, sure, unsure)
    assert value("mia_auc", told, "forget") == 1
    assert value("mia_accuracy", told, "forget") == 1
    alike = evidence(retain, np.full(40, 0.5), np.full(60, 0.5))
    assert value("mia_auc", alike, "forget") == 0.5
    assert value("mia_accuracy", alike, "forget") == 0.5


def test_no_attack_claims_a_perfect_value_but_the_retrained_models() -> None:
    """Where test is of another kind than forget (TOFU), a retrained model's area is not .5, nor should another's be."""
    assert all(each.ideal is None for each in ATTACKS)
    rng = np.random.default_rng(0)
    never_seen, other_kind = rng.uniform(0.2, 0.3, 40), rng.uniform(0.6, 0.9, 60)
    retrained, unlearned = (evidence(rng.random(50), never_seen - less, other_kind) for less in (0, 0.01))
    rows = measure(retrained.subject, (retrained.subject,), unlearned.subject, (), False, 0, (METRICS["mia_auc"],))
    found = {(row.role, row.metric): row.value for row in rows}
    assert found["retrained", "mia_auc"] == 1 and found["unlearned", "gap_mia_auc"] == 0


@pytest.mark.parametrize(("count", "expected"), [(1, None), (2, 1.0), (5, 1.0)])
def test_mia_auc_of_few_examples(count: int, expected: float | None) -> None:
    """Two a side are two folds, each trained on one a side; one a side tells nothing, and is not called perfect."""
    found = evidence(np.full(9, 0.5), np.linspace(0.8, 0.9, count), np.linspace(0.1, 0.2, 20))
    assert value("mia_auc", found, "forget") == expected


def test_mia_auc_compares_with_test_examples_of_the_same_classes() -> None:
    rng = np.random.default_rng(0)
    found = evidence(rng.random(50), rng.uniform(0.2, 0.3, 40), rng.uniform(0.9, 0.99, 40))
    test = found.subject["test"]
    elsewhere = Scores(test.logits, np.ones(len(test), dtype=np.int64), test.index)
    other = Evidence({**found.subject, "test": elsewhere}, {}, (), (), False)
    assert value("mia_auc", other, "forget") is None
    assert value("mia_accuracy", other, "forget") is None
    whole = evidence(
        rng.random(50), rng.uniform(0.2, 0.3, 40), rng.uniform(0.2, 0.3, 99), test_forget=np.full(40, 0.95)
    )
    assert value("mia_auc", whole, "forget") == 1
