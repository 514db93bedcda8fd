"""How long the rest of a sweep should take, from what is in the cache."""

from __future__ import annotations

from unlearnbench.graph.artefact import Computed
from unlearnbench.graph.cache import Cache
from unlearnbench.runs.left import Left, in_words, told
from unlearnbench.runs.plan import Entry


def stage(key, kind="unlearn", like="a"):
    return Entry(key, kind, key, 0, (), (0,), None, False, like)


def finished(cache, key, seconds, kind="unlearn", like="a"):
    cache.publish(key, Computed({}, {"key": key, "kind": kind, "like": like, "seconds": seconds}))


def test_what_is_missing_takes_as_long_as_like_stages_and_else_as_its_kind(tmp_path):
    cache = Cache(tmp_path)
    stages = [stage("1"), stage("2"), stage("3", like="b"), stage("4", "train", "c")]
    left = Left(stages, cache)
    assert left.seconds() is None
    finished(cache, "x", 10.0)
    finished(cache, "y", 50.0, "train", "d")
    left = Left(stages, cache)
    assert left.seconds() == 10 + 10 + 10 + 50
    finished(cache, "4", 30.0, "train", "c")
    left._next = 0.0
    assert left.seconds() == 30
    finished(cache, "1", 20.0)
    left._next = 0.0
    assert left.seconds() == 15 + 15  # the median of 10 and 20
    left.drop(["3"])
    assert left.seconds() == 15


def test_what_a_job_took_is_known_once_it_has_ended(tmp_path):
    cache = Cache(tmp_path)
    left = Left([stage("1"), stage("2")], cache)
    finished(cache, "1", 20.0)
    left.drop(["1"])
    assert left.seconds() == 20


def test_a_damaged_stage_is_no_example(tmp_path):
    cache = Cache(tmp_path)
    finished(cache, "x", 10.0)
    finished(cache, "y", 30.0)
    (tmp_path / "stages" / "y" / "facts.json").write_text("{")
    assert Left([stage("1")], cache).seconds() == 10


def test_time_is_told_in_the_unit_that_a_person_would_use():
    assert [in_words(seconds) for seconds in (3.4, 600, 7200)] == ["3 s", "10 min", "2.0 h"]
    assert told(600.0) == ", about 10 min left" and told(None) == told(0.0) == ""
