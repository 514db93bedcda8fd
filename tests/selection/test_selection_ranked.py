"""Which rows a score chooses, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.errors import UserError
from unlearnbench.forget.ranked import check_size, ranked
from unlearnbench.selection.hard import lateness, mean_of_units
from unlearnbench.selection.memorisation import memorised
from unlearnbench.selection.worst import projected
from worlds import synthetic


def test_levels_are_the_lowest_the_middle_and_the_highest():
    score = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    assert ranked(score, None, "low", 0).tolist() == [1, 3, 4, 2, 0]
    assert ranked(score, None, "high", 0).tolist() == [0, 2, 4, 3, 1]
    middle = ranked(score, None, "medium", 0)
    assert middle[0] == 4 and set(middle[1:3]) == {2, 3}


def test_balanced_rows_compete_with_those_of_their_own_label():
    score, label = np.array([9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert set(ranked(score, None, "high", 0)[:4]) == {0, 1, 2, 3}
    assert set(ranked(score, label, "high", 0)[:4]) == {0, 1, 6, 7}
    assert set(ranked(score, label, "low", 0)[:4]) == {2, 3, 4, 5}


def test_a_balanced_choice_has_the_labels_of_all_rows():
    generator = np.random.default_rng(0)
    label = generator.choice(3, 1000, p=[0.6, 0.3, 0.1])
    chosen = ranked(label + generator.normal(size=1000), label, "high", 0)[:100]
    assert np.abs(np.bincount(label[chosen]) - np.bincount(label) / 10).max() <= 1


def test_ties_are_broken_by_the_seed_alone():
    score = np.zeros(50)
    assert np.array_equal(ranked(score, None, "high", 1), ranked(score, None, "high", 1))
    assert not np.array_equal(ranked(score, None, "high", 1), ranked(score, None, "high", 2))


def test_a_row_is_later_the_more_epochs_it_is_wrong_and_the_less_sure():
    right = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]])
    confidence = np.array([[0.9, 0.1, 0.1, 0.6], [0.9, 0.8, 0.2, 0.6]])
    assert np.argsort(lateness(right, confidence)).tolist() == [0, 3, 1, 2]


def test_memorisation_is_what_seeing_a_row_changes():
    confidence = np.array([[1.0, 0.9, 0.2], [1.0, 0.1, 0.2], [0.0, 0.9, 0.2], [0.0, 0.9, 0.2]])
    inside = np.array([[True, True, True], [True, False, False], [False, True, True], [False, True, False]])
    assert memorised(confidence, inside) == pytest.approx([1.0, 0.8, 0.0])


def test_memorisation_is_zero_on_average_where_seeing_changes_nothing():
    generator = np.random.default_rng(0)
    inside = generator.permuted(np.tile((np.arange(16) >= 5)[:, None], (1, 2000)), axis=0)
    found = memorised(generator.uniform(size=(16, 2000)), inside)
    assert found.mean() == pytest.approx(0, abs=0.01) and found.std() == pytest.approx(0.156, abs=0.01)


def test_rows_of_a_unit_share_their_mean():
    assert mean_of_units(np.array([1.0, 3.0, 5.0]), np.array([7, 7, 2])).tolist() == [2.0, 2.0, 5.0]


def test_projected_weights_add_up_within_each_label():
    label = np.array([0, 0, 0, 0, 1, 1])
    assert projected(np.array([5.0, 0.3, 0.2, -9.0, 0.0, 0.0]), label, 0.5).tolist() == pytest.approx(
        [1.0, 0.55, 0.45, 0.0, 0.5, 0.5]
    )
    inside = np.full(6, 0.5)
    assert projected(inside, label, 0.5) == pytest.approx(inside)


def test_sizes_that_cannot_be_say_what_to_type():
    info = synthetic().info()
    for fraction, count in ((None, None), (0.1, 10)):
        with pytest.raises(UserError, match=r"either a fraction or a count"):
            check_size("hard", fraction, count, info)
    with pytest.raises(UserError, match=r"forget.count=100000 leaves fewer than two(.|\n)*Try: forget.fraction=0.1"):
        check_size("hard", None, 100000, info)
