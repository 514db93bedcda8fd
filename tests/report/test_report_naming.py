"""Short names for configurations that share a name: what differs, never what is shared or does not matter."""

from __future__ import annotations

from unlearnbench.report.naming import settings, variants


def facts(*runs):
    """Make run facts of (setting, method_setting, overrides) triples."""
    return {
        str(number): {"model": "m", "method": "distill", "setting": a, "method_setting": b, "overrides": words.split()}
        for number, (a, b, words) in enumerate(runs)
    }


def test_what_all_share_and_what_no_result_depends_on_is_left_out():
    named = settings(
        facts(
            ("s1", "", "model=m dataset.limit=99 train.epochs=1 seed=0 outputs=x reference.count=2 forget.classes=[1]"),
            ("s2", "", "model=m dataset.limit=99 +train.epochs=5 seed=1 method.epochs=7"),
        ),
        ("model",),
    )
    assert named == {"0": "train.epochs=1", "1": "train.epochs=5"}


def test_a_setting_takes_its_name_from_the_run_that_said_least():
    named = settings(facts(("s1", "", "train.epochs=6"), ("s1", "", ""), ("s2", "", "train.epochs=1")), ("model",))
    assert named == {"0": "defaults", "1": "defaults", "2": "train.epochs=1"}


def test_settings_that_no_override_tells_apart_are_named_by_their_digests():
    assert settings(facts(("s1", "", ""), ("s2", "", "")), ("model",)) == {"0": "defaults, s1", "1": "defaults, s2"}


def test_other_settings_of_an_evaluation_are_another_setting_and_more_evaluations_are_not():
    found = facts(("s", "", "eval.ulira.models=16"), ("s", "", ""), ("s", "", "eval=[standard]"))
    for key, name in (("0", "u16"), ("1", "u64")):
        found[key]["evaluation_settings"] = {"standard": "a", "ulira": name}
    found["2"]["evaluation_settings"] = {"standard": "a"}
    assert settings(found, ("model",)) == {"0": "eval.ulira.models=16", "1": "defaults", "2": "eval=[standard]"}
    assert set(settings({key: found[key] for key in "12"}, ("model",)).values()) == {""}


def test_one_configuration_of_a_method_is_the_method_in_each_setting():
    named = variants(facts(("s1", "a", "method.epochs=1"), ("s2", "b", "method.epochs=2")), ("model",))
    assert named == {"0": "distill", "1": "distill"}


def test_configurations_of_a_method_are_named_by_its_own_overrides():
    named = variants(facts(("s", "a", "train.epochs=6 method.epochs=1"), ("s", "b", "")), ("model",))
    assert named == {"0": "distill (method.epochs=1)", "1": "distill (defaults)"}
