"""Nearness in words: what counts as nearer, and what is said of how original and retrained were trained."""

from __future__ import annotations

import math

from unlearnbench.metrics.equivalence import Differences
from unlearnbench.metrics.nearness import hardly, least, moved, passes, training


def test_one_seed_counts_where_it_moved_by_more_than_the_floor_and_one_row() -> None:
    assert least(0.01, 50, is_rate=True) == 0.02 and least(0.03, 50, is_rate=True) == 0.03
    assert least(math.nan, 50, is_rate=False) == 0.0
    found = {name: Differences(by, math.nan, 1) for name, by in (("a", 0.03), ("b", 0.02), ("c", -0.03))}
    assert moved(found, 0.02) == {"a": "nearer", "b": "", "c": "farther"}


def test_seeds_must_agree_and_many_methods_must_show_more() -> None:
    clear, noisy = Differences.of([0.30, 0.31, 0.32]), Differences.of([0.9, 0.0, 0.1])
    assert moved({"clear": clear, "noisy": noisy}, 0.01) == {"clear": "nearer", "noisy": ""}
    assert set(moved({str(number): clear for number in range(200)}, 0.01).values()) == {""}  # p .0004 for one


def test_equally_well_trained_is_within_the_margin_or_the_floor() -> None:
    said = training("accuracy", 0.90, 0.91, 0.001, 0.02, is_rate=True)
    assert said == ["Original and retrained were trained about equally well: accuracy on retain 0.900 and 0.910."]
    (said_of_more,) = training("accuracy", 0.90, 0.95, 0.001, 0.02, is_rate=True)
    assert "not trained equally well" in said_of_more and "the margin (0.020)" in said_of_more
    assert "equally well" in training("accuracy", 0.9, 0.95, 0.06, 0.02, is_rate=True)[0]
    assert len(training("answer NLL", 0.2, 0.3, math.nan, math.nan, is_rate=False)) == 1


def test_models_that_learnt_little_are_told_to_train_longer() -> None:
    """A digits sweep had a retrained model with .62 of retain, which finetune passed by .15."""
    unequal, low = training("accuracy", 0.8, 0.62, math.nan, 0.02, is_rate=True)
    assert "not trained equally well" in unequal
    assert low.startswith("Retrained gets only 0.620 right of what it was trained on") and "train.epochs" in low
    (both,) = training("accuracy", 0.10, 0.09, 0.01, 0.02, is_rate=True)
    assert "both hardly trained: accuracy on retain 0.100 and 0.090" in both and "equally well" not in both
    assert hardly(0.7) == [] and "Try: train longer" in hardly(0.69)[0] and "retrained" not in hardly(0.69)[0]
    assert hardly(0.6, 0.5)[0].startswith("They get only 0.600 and 0.500 right of what they were trained on.")
    assert "finetune gets more right than retrained, on retain by 0.150" in passes("finetune", 0.15, 0.1, 0.02)
    assert passes("finetune", 0.15, 0.01, 0.02) == ""
