"""Forget sets: disjoint, named, seeded by themselves, and clear about what cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unlearnbench.errors import UserError
from unlearnbench.forget.classes import ByClass, Subclass
from unlearnbench.forget.random import Random
from worlds import synthetic


@pytest.fixture(scope="module")
def data():
    return synthetic().load()


ALL = [
    Random(fraction=0.1, count=None, seed=0),
    Random(fraction=None, count=17, seed=3),
    ByClass(classes=(0, "class2"), seed=0),
]


@pytest.mark.parametrize("forget", ALL)
def test_splits_are_disjoint_and_whole(data, forget):
    splits = forget.split(data)
    parts = [splits.retain, splits.forget, splits.validation, splits.test]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == len(data.labels)
    assert np.array_equal(np.union1d(splits.retain, splits.forget), data.train)


def test_random_counts_and_seeds(data):
    first = Random(fraction=0.1, count=None, seed=0).split(data).forget
    assert len(first) == round(0.1 * len(data.train))
    assert np.array_equal(first, Random(fraction=0.1, count=None, seed=0).split(data).forget)
    assert not np.array_equal(first, Random(fraction=0.1, count=None, seed=1).split(data).forget)
    assert len(Random(fraction=None, count=17, seed=0).split(data).forget) == 17


def test_classes_divide_training_and_test_data(data):
    splits = ByClass(classes=("class2", 0), seed=0).split(data)
    assert set(data.labels[splits.forget]) == set(data.labels[splits.test_forget]) == {0, 2}
    assert not {0, 2} & set(data.labels[splits.retain])
    assert np.array_equal(np.union1d(splits.test_retain, splits.test_forget), splits.test)


def test_validation_without_what_is_forgotten_steers_the_retrained(data):
    splits = ByClass(classes=("class2",), seed=0).split(data)
    assert set(data.labels[splits.validation]) == {0, 1, 2, 3}
    assert set(data.labels[splits.steering]) == {0, 1, 3}
    assert len(splits.steering) == (data.labels[splits.validation] != 2).sum()
    random = Random(fraction=0.1, count=None, seed=0).split(data)
    assert random.steering is random.validation
    alone = replace(data, validation=data.validation[data.labels[data.validation] == 2])
    assert len(ByClass(classes=("class2",), seed=0).split(alone).steering) == 0
    kinds = synthetic(labels="superclass").load()
    steering = Subclass(classes=("class1",), seed=0).split(kinds).steering
    assert set(kinds.subclass[steering]) == set(kinds.subclass) - {1}


def test_subclass_goes_while_its_class_stays():
    data = synthetic(labels="superclass").load()
    splits = Subclass(classes=("class1",), seed=0).split(data)
    assert set(data.subclass[splits.forget]) == {1}
    assert set(data.labels[splits.forget]) == {0}
    assert 0 in data.labels[splits.retain]


def test_names_do_not_depend_on_how_they_were_given(data):
    assert ByClass(classes=(2, 0), seed=0).label(data.info) == "class:class0+class2"
    assert ByClass(classes=("class0", "class2"), seed=0).label(data.info) == "class:class0+class2"
    assert Random(fraction=0.1, count=None, seed=0).label(data.info) == "random:0.1"
    assert Random(fraction=0.1, count=None, seed=2).label(data.info) == "random:0.1@2"


@pytest.mark.parametrize(
    ("forget", "says"),
    [
        (ByClass(classes=("clas1",), seed=0), "Did you mean 'class1'"),
        (ByClass(classes=(9,), seed=0), "0 to 3"),
        (ByClass(classes=(-1,), seed=0), "unknown class -1"),
        (ByClass(classes=(), seed=0), "nothing would be forgotten"),
        (ByClass(classes=(0, 1, 2, 3), seed=0), "nothing would be retained"),
        (Subclass(classes=(0,), seed=0), "dataset.labels=superclass"),
        (Random(fraction=None, count=None, seed=0), "either a fraction or a count"),
        (Random(fraction=0.1, count=10, seed=0), "either a fraction or a count"),
        *(
            (Random(fraction=None, count=count, seed=0), "forgets everything: there are 216")
            for count in (215, 216, 239, 240)
        ),
        (Random(fraction=0.999, count=None, seed=0), "forgets everything: there are 216"),
        (Random(fraction=0.001, count=None, seed=0), "empty forget set"),
    ],
)
def test_what_cannot_be_is_said(data, forget, says):
    with pytest.raises(UserError, match=says) as error:
        forget.label(data.info)
    assert "Try:" in str(error.value)


def test_the_largest_forget_set_leaves_two_examples(data):
    largest = Random(fraction=None, count=214, seed=0)
    assert largest.label(data.info) == "random:214"
    assert len(largest.split(data).retain) == 2


def test_a_class_without_test_examples_leaves_all_of_test_as_what_stays(data):
    stays = replace(data, test=data.test[data.labels[data.test] != 2])
    splits = ByClass(classes=("class2",), seed=0).split(stays)
    assert splits.test_forget is None and np.array_equal(splits.test_retain, splits.test)
    goes = replace(data, test=data.test[data.labels[data.test] == 2])
    splits = ByClass(classes=("class2",), seed=0).split(goes)
    assert splits.test_retain is None and np.array_equal(splits.test_forget, splits.test)
