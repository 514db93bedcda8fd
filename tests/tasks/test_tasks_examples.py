"""Which rows are written out: whole pairs, every axis, kind and template in turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unlearnbench.tasks.examples import examples
from worlds import notes


@pytest.fixture(scope="module")
def data():
    return notes(limit=None, limit_test=None, limit_validation=None).load()


def chosen(data, index, count):
    places = examples(index, data.unit, data.columns, count)
    assert np.array_equal(places, np.unique(places))
    return index[places]


@pytest.mark.parametrize("count", [24, 25, 60])
def test_counterfactual_pairs_stand_side_by_side(data, count):
    rows = chosen(data, data.test, count)
    assert len(rows) == count - count % 2
    assert np.array_equal(data.unit[rows[::2]], data.unit[rows[1::2]])


def test_every_axis_appears_and_every_kind_with_a_biased_row(data):
    rows = chosen(data, data.test, 24)
    axes = zip(data.columns["axis"][rows].tolist(), data.columns["legitimate"][rows].tolist(), strict=True)
    assert set(Counter(axes).values()) == {2} and len(set(data.columns["axis"][data.test].tolist())) == 10
    biased = rows[data.columns["is_biased"][rows]]
    kinds = Counter(name.split("/")[0] for name in data.columns["template_id"][biased].tolist())
    assert kinds == dict.fromkeys(("doubt", "disapproval", "stereotyping", "blame", "inference"), 2)


def test_with_more_room_notes_with_a_finding_appear(data):
    assert not any("Chart review:" in data.rows[row].prompt for row in chosen(data, data.test, 24))
    assert any("Chart review:" in data.rows[row].prompt for row in chosen(data, data.test, 60))


def test_where_partners_are_in_another_split_rows_stand_alone(data):
    forget = data.train[data.columns["is_biased"][data.train]]
    rows = chosen(data, forget, 24)
    assert len(rows) == 24 and len(set(data.columns["axis"][rows].tolist())) == 10
    assert len(set(data.columns["template_id"][rows].tolist())) == 24


def test_a_pair_is_not_parted_for_a_count_of_one_and_all_is_all(data):
    assert len(chosen(data, data.test, 1)) == 2
    assert np.array_equal(chosen(data, data.test, 1000), data.test)


def test_rows_without_templates_are_evenly_spread():
    index = np.arange(100, 200)
    assert examples(index, np.arange(300), {}, 5).tolist() == [0, 25, 50, 74, 99]
    assert len(examples(index, np.arange(300), {}, 200)) == 100
