"""A run's numbers in words."""

from __future__ import annotations

import json

from unlearnbench.results.words import UNKNOWN, words

RESULT = {"scored": {"retain": 500, "forget": 50, "test": 100}, "margin": {"rate": 0.02}, "checkpoint": None}


def values(original, retrained, unlearned, floor=None):
    """Return the accuracies of three roles on retain, forget and test, and a noise floor of all."""
    found = {}
    for role, of in (("original", original), ("retrained", retrained), ("unlearned", unlearned)):
        found |= {
            (role, split, "accuracy"): value for split, value in zip(("retain", "forget", "test"), of, strict=True)
        }
    if floor is not None:
        found |= {("retrained", split, "floor_accuracy"): floor for split in ("retain", "forget", "test")}
    return found


def test_a_run_says_where_it_is_nearer_and_where_farther():
    said = " ".join(words(values((0.95, 0.9, 0.8), (0.95, 0.0, 0.75), (0.85, 0.02, 0.75), floor=0.03), RESULT))
    assert (
        "Nearer to retrained than the original was on forget (away by 0.0200; the original by 0.9000) and test" in said
    )
    assert "Farther from retrained than the original was on retain (away by 0.1000; the original by 0.0000)." in said
    assert "Within the noise floor of retrained on forget and test, which is no proof of equality." in said
    assert "trained about equally well" in said and UNKNOWN not in said


def test_an_unknown_floor_and_a_poor_retrained_model_are_said():
    said = " ".join(words(values((0.8, 0.8, 0.7), (0.62, 0.0, 0.5), (0.77, 0.0, 0.65)), RESULT))
    assert UNKNOWN in said and "reference.count=2" in said
    assert "not trained equally well" in said and "Retrained gets only 0.620" in said
    assert "The unlearned model gets more right than retrained, on retain by 0.150 and on test by 0.150" in said


def test_one_row_is_no_change_and_other_runs_say_what_they_can():
    same = (0.95, 0.9, 0.8)
    assert "No clear change on retain, forget and test." in words(
        values(same, (0.95, 0.0, 0.8), (0.95, 0.88, 0.8)), RESULT
    )
    alone = {key: value for key, value in values((0.6, 0.5, 0.5), same, same).items() if key[0] != "retrained"}
    (said,) = words(alone, RESULT)
    assert said.startswith("The original gets only 0.600 right of what it was trained on") and "Nearer" not in said
    assert words({}, RESULT) == []
    json.dumps(words(values(same, same, same), RESULT))
