"""Plans: chunks that hold all the missing work once, and files that are read back."""

from __future__ import annotations

import pytest

from unlearnbench.errors import UserError
from unlearnbench.runs import plan
from unlearnbench.runs.plan import Entry, Plan


def entry(key, level, parents=(), jobs=(0,), seconds=200.0, present=False):
    return Entry(key, "kind", key, level, tuple(parents), tuple(jobs), seconds, present)


def made(*entries):
    return Plan(("seed=0,1",), (), (), "/outputs", entries)


ORIGINALS = [entry(f"o{k}", 0, jobs=[k]) for k in range(4)]
UNLEARNED = [entry(f"u{k}", 1, [f"o{k}"], jobs=[k]) for k in range(4)]


def test_trainings_come_first_in_chunks_of_ten_minutes_then_whole_jobs():
    chunks = made(*ORIGINALS, *UNLEARNED).chunks
    assert [(one.level, one.keys, one.jobs) for one in chunks] == [
        ("train", ("o0", "o1", "o2"), (0, 1, 2)), ("train", ("o3",), (3,)),
        ("unlearn", (), (0, 1, 2)), ("unlearn", (), (3,)),
    ]  # fmt: skip
    assert [one.seconds for one in chunks] == [600.0, 200.0, 600.0, 200.0]


def test_what_is_there_is_in_no_chunk():
    there = [entry(f"o{k}", 0, jobs=[k], present=True) for k in range(4)]
    chunks = made(*there, *UNLEARNED[:1], entry("u1", 1, ["o1"], jobs=[1], present=True)).chunks
    assert [(one.level, one.jobs) for one in chunks] == [("unlearn", (0,))]
    assert made(*there).chunks == ()


def test_a_missing_stage_that_nothing_reads_is_done_with_its_job():
    """Such as the scores of a random network, which reads no other stage either."""
    chunks = made(entry("o0", 0, present=True), entry("scores", 0)).chunks
    assert [(one.level, one.jobs) for one in chunks] == [("unlearn", (0,))]


def test_jobs_of_one_original_are_in_one_chunk_where_they_fit():
    shared = [entry("a", 0, jobs=[0, 2], present=True), entry("b", 0, jobs=[1, 3], present=True)]
    unlearned = [entry(f"u{k}", 1, ["ab"[k % 2]], jobs=[k], seconds=300.0) for k in range(4)]
    assert [one.jobs for one in made(*shared, *unlearned).chunks] == [(0, 2), (1, 3)]


def test_a_plan_is_read_back_and_a_damaged_one_is_named(tmp_path):
    one = made(*ORIGINALS)
    one.write(tmp_path / "plan.jsonl")
    assert plan.read(tmp_path / "plan.jsonl") == one
    for text in ("", "[]", '{"words": 1}', '{"words": [], "parameters": [], "folders": [], "outputs": "x"}\n{}'):
        (tmp_path / "plan.jsonl").write_text(text)
        with pytest.raises(UserError, match="is not a plan"):
            plan.read(tmp_path / "plan.jsonl")


def test_a_large_sweep_checks_its_model_once_and_keeps_no_job_s_stages(tmp_path, monkeypatch):
    """10,000 jobs are planned within 20 seconds because each costs what differs in it alone."""
    from unlearnbench import fits
    from unlearnbench.runs.sweep import Sweep

    checked = []
    monkeypatch.setattr(fits, "check_model", lambda *parts: checked.append(parts))
    words = ["dataset=digits", "model=tiny_cnn", "forget=random", "method=finetune", f"outputs={tmp_path}"]
    values = ",".join(f"{number / 1000}" for number in range(1, 21))
    sweep = Sweep([*words, f"method.optimizer.lr={values}", "seed=0,1"], (), (), planning=True)
    found = plan.with_stages(sweep, tmp_path)
    assert len(checked) == 1
    assert all(not job.picture and "stages" not in vars(job) for job in sweep.jobs.values())
    kinds = [one.kind for one in found.entries]
    assert kinds.count("unlearn") == 40 and kinds.count("train") == 4
    assert {one.level for one in found.entries} == {0, 1, 2}
    assert sorted(job for one in found.entries if one.kind == "unlearn" for job in one.jobs) == list(range(40))
