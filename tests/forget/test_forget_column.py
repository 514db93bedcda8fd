"""Forgetting by a column: named, disjoint, divided on the test set too, and clear about what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.contracts import DataInfo
from unlearnbench.data.text import TextData, TextRow
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column

SIZES = {"train": 60, "validation": 12, "test": 18}
INFO = DataInfo(
    kind="text", classes=("a", "b"), train=60, test=18, shape=(), columns=("is_biased", "axis", "year", "constant")
)


@pytest.fixture(scope="module")
def data() -> TextData:
    """Every third row is biased, the axis is race, sex or age, the year 1 to 6; one column is the same for all."""
    rows = [
        TextRow(
            prompt=f"question {n}",
            options=("yes", "no"),
            label=n % 2,
            corrected=0,
            facts={
                "is_biased": n % 3 == 0,
                "axis": ("race", "sex", "age")[n % 3],
                "year": n % 6 + 1,
                "constant": "x",
                "rare": "once" if n == 7 else "test only" if n == 80 else "often",
            },
        )
        for n in range(90)
    ]
    parts = np.split(np.arange(90), np.cumsum(list(SIZES.values()))[:-1])
    return TextData(info=INFO, rows=tuple(rows), train=parts[0], validation=parts[1], test=parts[2])


def column(name: str, value: bool | int | str, fraction: float = 1.0, seed: int = 0) -> Column:
    return Column(column=name, value=value, fraction=fraction, seed=seed)


ALL = [column("is_biased", True), column("axis", "sex"), column("year", 4), column("is_biased", False, 0.3)]


@pytest.mark.parametrize("forget", ALL)
def test_splits_are_disjoint_and_complete(data: TextData, forget: Column) -> None:
    splits = forget.split(data)
    together = np.concatenate([splits.retain, splits.forget, splits.validation, splits.test])
    assert np.array_equal(np.sort(together), np.arange(90))
    assert np.array_equal(np.union1d(splits.retain, splits.forget), data.train)
    assert np.array_equal(splits.validation, data.validation) and np.array_equal(splits.test, data.test)


@pytest.mark.parametrize("forget", ALL[:3])
def test_all_training_rows_of_the_value_go_and_no_other(data: TextData, forget: Column) -> None:
    splits, values = forget.split(data), data.columns[forget.column]
    assert (values[splits.forget] == forget.value).all() and not (values[splits.retain] == forget.value).any()
    assert forget.whole_class


@pytest.mark.parametrize("forget", ALL)
def test_validation_rows_of_a_value_that_goes_altogether_steer_nothing(data: TextData, forget: Column) -> None:
    goes = (data.columns[forget.column] == forget.value) & forget.whole_class
    assert np.array_equal(forget.split(data).steering, data.validation[~goes[data.validation]])


@pytest.mark.parametrize("forget", ALL)
def test_the_test_set_divides_by_the_value(data: TextData, forget: Column) -> None:
    splits, values = forget.split(data), data.columns[forget.column]
    assert splits.test_retain is not None and splits.test_forget is not None
    assert len(splits.test_forget) and (values[splits.test_forget] == forget.value).all()
    assert not (values[splits.test_retain] == forget.value).any()
    assert np.array_equal(np.union1d(splits.test_retain, splits.test_forget), splits.test)


def test_a_fraction_of_the_value_goes_by_its_own_seed(data: TextData) -> None:
    biased = data.train[data.columns["is_biased"][data.train]]
    half = column("is_biased", True, 0.5)
    first, again, other = (
        each.split(data).forget for each in (half, column("is_biased", True, 0.5), column("is_biased", True, 0.5, 1))
    )
    assert len(first) == round(0.5 * len(biased)) == 10 and set(first) < set(biased)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, np.sort(first)) and len(np.unique(first)) == 10
    assert not half.whole_class


def test_the_seed_of_all_rows_changes_nothing(data: TextData) -> None:
    splits = [column("axis", "age", seed=seed).split(data).forget for seed in (0, 1)]
    assert np.array_equal(*splits)


@pytest.mark.parametrize(("fraction", "value", "enough"), [(0.00001, 1, 0.1), (0.05, 2, 0.1)])
def test_a_fraction_that_forgets_no_row_is_refused(data, fraction, value, enough) -> None:
    with pytest.raises(
        UserError, match=f"forget.fraction={fraction} of the 10 training rows with year={value}"
    ) as error:
        column("year", value, fraction).split(data)
    assert str(error.value).endswith(f"Try: forget.fraction={enough}")
    assert len(column("year", value, enough).split(data).forget) == 1


@pytest.mark.parametrize(
    ("forget", "label"),
    [
        (column("is_biased", True), "is_biased=True"),
        (column("axis", "sex"), "axis=sex"),
        (column("year", 4, seed=3), "year=4"),
        (column("is_biased", True, 0.5), "is_biased=True:0.5"),
        (column("is_biased", True, 0.5, 2), "is_biased=True:0.5@2"),
    ],
)
def test_label_names_column_value_and_what_is_not_all(forget: Column, label: str) -> None:
    assert forget.label(INFO) == label


def test_an_unknown_column_is_refused_with_the_nearest_and_all_names() -> None:
    with pytest.raises(
        UserError, match=r"forget.column: unknown column 'is_bias'.*Did you mean 'is_biased'\?"
    ) as error:
        column("is_bias", True).label(INFO)
    assert "The columns are: is_biased, axis, year, constant." in str(error.value)
    assert "Try: forget.column=is_biased" in str(error.value)


def test_a_data_set_without_columns_points_to_classes() -> None:
    images = DataInfo(kind="image", classes=("a", "b"), train=9, test=9, shape=(1, 8, 8))
    with pytest.raises(UserError, match=r"The columns are: none.\nTry: forget=class"):
        column("is_biased", True).label(images)


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("axis", "weight", "age, race, sex"),
        ("year", 9, "1, 2, 3, 4, 5, 6"),
        ("is_biased", "yes", "False, True"),
        ("rare", "test only", "often, once"),
    ],
)
def test_a_value_that_no_training_row_has_is_refused(data: TextData, name: str, value: int | str, known: str) -> None:
    with pytest.raises(UserError, match=f"forget.value={value} would forget nothing") as error:
        column(name, value).split(data)
    assert str(error.value).endswith(f": {known}.\nTry: one of these values")


def test_a_value_that_all_training_rows_have_is_refused_and_not_recommended(data: TextData) -> None:
    for value, says in (("x", "everything"), ("y", "nothing")):
        with pytest.raises(UserError, match=f"forget.value={value} would forget {says}") as error:
            column("constant", value).split(data)
        assert "Try: " in str(error.value)
        assert "Try: forget.value=x" not in str(error.value), "what is typed next would forget everything"


def test_the_values_that_can_be_typed_are_listed_numbers_as_numbers(data: TextData) -> None:
    rows = [
        TextRow(**{**vars(row), "facts": {"task_id": str(n % 11) if n % 11 else ""}}) for n, row in enumerate(data.rows)
    ]
    tasks = TextData(info=INFO, rows=tuple(rows), train=data.train, validation=data.validation, test=data.test)
    with pytest.raises(UserError, match=r"have task_id: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.\nTry: one of these values"):
        column("task_id", "seven").split(tasks)
