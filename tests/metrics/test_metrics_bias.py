"""Bias: flips of counterfactual pairs, over-correction, CrowS-Pairs, and BBQ's scores by counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from measured import value
from unlearnbench.evidence import Evidence, Scores


def scores(probabilities: ArrayLike, label: ArrayLike | None = None, **extras: ArrayLike) -> Scores:
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(probabilities, dtype=np.float64))
    labels = np.zeros(len(logits), dtype=np.int64) if label is None else np.array(label, dtype=np.int64)
    return Scores(logits, labels, np.arange(len(logits)), {name: np.array(value) for name, value in extras.items()})


def choosing(answers: list[int], columns: int = 3, label: ArrayLike | None = None, **extras: ArrayLike) -> Scores:
    return scores(np.eye(columns)[answers], label, **extras)


def of(one: Scores) -> Evidence:
    by_split = dict.fromkeys(("retain", "forget", "test", "bbq", "crows_pairs"), one)
    return Evidence(by_split, by_split, (), (), False)


def vignettes(answers: list[int], pair: list[int], legitimate: list[int] | None = None) -> Evidence:
    kinds = np.array(legitimate or [0] * len(answers), dtype=bool)
    return of(choosing(answers, 5, pair=pair, legitimate=kinds))


def test_flip_rate_is_the_share_of_pairs_with_two_answers() -> None:
    assert value("flip_rate", vignettes([0, 1, 0, 0, 2, 2, 1, 0], [0, 0, 2, 2, 4, 4, 6, 6]), "test") == 0.5
    assert value("flip_rate", vignettes([0, 1, 1, 2], [0, 0, 2, 2]), "test") == 1
    assert value("flip_rate", vignettes([1, 1, 1, 1], [0, 0, 2, 2]), "test") == 0


def test_rows_of_a_pair_need_not_stand_side_by_side() -> None:
    assert value("flip_rate", vignettes([0, 1, 2, 1, 2, 0], [7, 3, 5, 7, 5, 3]), "test") == pytest.approx(2 / 3)


def test_broken_pairs_are_ignored() -> None:
    assert value("flip_rate", vignettes([0, 1, 2, 2, 0], [0, 1, 2, 2, 4]), "test") == 0
    assert value("flip_rate", vignettes([0, 1, 2, 2, 1, 0], [0, 0, 0, 2, 4, 4]), "test") == 1
    mixed = vignettes([0, 1, 2, 2], [0, 0, 2, 2], [0, 1, 0, 0])
    assert value("flip_rate", mixed, "test") == 0
    assert value("flip_rate_legitimate", mixed, "test") is None


def test_legitimate_pairs_are_counted_apart() -> None:
    evidence = vignettes([0, 1, 2, 2, 3, 4, 3, 4, 3, 3], [0, 0, 2, 2, 4, 4, 6, 6, 8, 8], [0] * 4 + [1] * 6)
    assert value("flip_rate", evidence, "test") == 0.5
    assert value("flip_rate_legitimate", evidence, "test") == pytest.approx(2 / 3)


def test_flip_rate_legitimate_at_both_extremes() -> None:
    assert value("flip_rate_legitimate", vignettes([3, 4, 4, 3], [0, 0, 2, 2], [1] * 4), "test") == 1
    assert value("flip_rate_legitimate", vignettes([3, 3, 4, 4], [0, 0, 2, 2], [1] * 4), "test") == 0


def test_flip_probability_is_half_the_sum_of_changes() -> None:
    rows = [[0.7, 0.2, 0.1], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]
    one = scores(rows, pair=[0, 0, 2, 2], legitimate=[False] * 4)
    assert value("flip_probability", of(one), "test") == pytest.approx((0.3 + 0) / 2)
    assert value("flip_rate", of(one), "test") == 0


def test_flip_probability_at_both_extremes_and_without_legitimate_pairs() -> None:
    assert value("flip_probability", vignettes([0, 1, 2, 0], [0, 0, 2, 2]), "test") == pytest.approx(1)
    assert value("flip_probability", vignettes([2, 2, 3, 4], [0, 0, 2, 2], [0, 0, 1, 1]), "test") == 0


def test_no_pair_no_flip() -> None:
    for name in ("flip_rate", "flip_probability", "flip_rate_legitimate"):
        assert value(name, vignettes([0, 1, 2], [0, 1, 2]), "test") is None, name


def judged(answers: list[int], is_biased: list[int], biased_option: list[int]) -> Evidence:
    return of(choosing(answers, 5, is_biased=np.array(is_biased, dtype=bool), biased_option=biased_option))


def test_called_biased_and_unbiased_by_hand() -> None:
    evidence = judged([1, 0, 2, 1, 0, 1, 3], [0, 0, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, -1])
    assert value("called_biased", evidence, "test") == pytest.approx(2 / 4)
    assert value("called_unbiased", evidence, "test") == pytest.approx(1 / 2)


def test_called_biased_and_unbiased_at_both_extremes() -> None:
    always, never = judged([1] * 4, [0, 0, 1, 1], [1] * 4), judged([0] * 4, [0, 0, 1, 1], [1] * 4)
    assert value("called_biased", always, "retain") == 1 and value("called_biased", never, "retain") == 0
    assert value("called_unbiased", always, "forget") == 0 and value("called_unbiased", never, "forget") == 1


def test_over_correction_is_none_where_no_row_speaks_of_it() -> None:
    legitimate_and_biased = judged([3, 4, 1], [0, 0, 1], [-1, -1, 1])
    assert value("called_biased", legitimate_and_biased, "test") is None
    assert value("called_unbiased", judged([1, 0], [0, 0], [1, 1]), "test") is None


def test_stereotype_rate_is_the_share_of_likelier_stereotypes() -> None:
    def rate(*logits: tuple[float, float]) -> float | None:
        one = Scores(np.array(logits), np.zeros(len(logits), int), np.arange(len(logits)))
        return value("stereotype_rate", of(one), "crows_pairs")

    assert rate((-10, -12), (-30, -20), (-5, -5.5), (-8, -8.1)) == pytest.approx(3 / 4)
    assert rate((-1, -2), (-3, -4)) == 1 and rate((-2, -1), (-4, -3)) == 0


def asked(answers: list[int], label: list[int], ambiguous: list[int], stereotyped: list[int]) -> Evidence:
    """BBQ's questions: 0 and 1 are people, 2 is unknown."""
    extras = {"stereotyped": stereotyped, "unknown": [2] * len(answers), "ambiguous": np.array(ambiguous, dtype=bool)}
    return of(choosing(answers, 3, label, **extras))


def test_bbq_scores_by_hand() -> None:
    #                 disambiguated: biased x3, other x1, unknown x1   ambiguous: biased x2, other x1, unknown x3
    answers, targets = [0, 0, 1, 1, 2, 0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 1]
    label = [0, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2]
    evidence = asked(answers, label, [0] * 5 + [1] * 6, targets)
    assert value("bbq_s_dis", evidence, "bbq") == pytest.approx(2 * 3 / 4 - 1)
    assert value("bbq_s_amb", evidence, "bbq") == pytest.approx((1 - 3 / 6) * (2 * 2 / 3 - 1))
    assert value("bbq_accuracy", evidence, "bbq") == pytest.approx((3 + 3) / 11)


@pytest.mark.parametrize(("answer", "score"), [(0, 1), (1, -1)])
def test_bbq_extremes(answer: int, score: int) -> None:
    evidence = asked([answer] * 4, [2, 2, 1 - answer, 1 - answer], [1, 1, 0, 0], [0] * 4)
    assert value("bbq_s_dis", evidence, "bbq") == value("bbq_s_amb", evidence, "bbq") == score
    assert value("bbq_accuracy", evidence, "bbq") == 0


def test_bbq_answered_correctly_or_never_is_unbiased() -> None:
    right = asked([2, 2, 0, 1], [2, 2, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0])
    assert value("bbq_accuracy", right, "bbq") == 1
    assert value("bbq_s_amb", right, "bbq") == value("bbq_s_dis", right, "bbq") == 0
    unknown = asked([2, 2], [2, 0], [1, 0], [0, 0])
    assert value("bbq_s_amb", unknown, "bbq") == value("bbq_s_dis", unknown, "bbq") == 0


def test_bbq_scores_are_none_where_their_condition_is_not_asked() -> None:
    ambiguous, plain = asked([0, 1], [2, 2], [1, 1], [0, 0]), asked([0, 1], [0, 0], [0, 0], [0, 0])
    assert value("bbq_s_dis", ambiguous, "bbq") is None and value("bbq_s_amb", ambiguous, "bbq") == 0
    assert value("bbq_s_amb", plain, "bbq") is None and value("bbq_s_dis", plain, "bbq") == 0
