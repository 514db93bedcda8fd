"""Runs whose forget set trained models choose: what is trained, when, and which rows are forgotten."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pandas
import pytest

from unlearnbench.errors import UserError
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop
from unlearnbench.runs import plan
from unlearnbench.runs.launch import Outcome, execute, found, prepare
from unlearnbench.runs.sweep import Sweep
from unlearnbench.runs.work import work
from unlearnbench.stages.benches import Benches
from worlds import TINY

HARD = (*TINY, "plots=false", "forget=hard", "forget.score=loss")
QUICK = ("method=finetune", "method.epochs=1")


def kinds(folder):
    facts = [json.loads(file.read_text()) for file in (folder / "cache" / "stages").glob("*/facts.json")]
    return Counter(one["kind"] for one in facts)


def forgotten(done):
    assert done.status == "done", done.reason
    return np.load(done.folder / "splits.npz")["forget"]


def drawn(folder, *words):
    job = found(prepare([*words, f"outputs={folder}"]), planning=True)
    assert not isinstance(job, Outcome)
    job.draw(Benches())
    return job


def test_the_original_that_chooses_is_the_run_s_own(tmp_path):
    before = drawn(tmp_path, *HARD, *QUICK)
    assert before.rehearsed and [stage.label for stage in before.stages] == ["scores of original on train"]
    rows = forgotten(execute(prepare([*HARD, *QUICK, f"outputs={tmp_path}"])))
    assert kinds(tmp_path)["train"] == 2  # one original, one retrained: nothing was trained twice
    after = drawn(tmp_path, *HARD, *QUICK)
    assert not after.rehearsed and before.stages[0].key in {stage.key for stage in after.stages}
    assert np.array_equal(after.picture[0].world.splits.forget, rows)
    assert after.picture[0].models.original.key == before.stages[0].inputs[0].key


def test_the_chosen_rows_are_those_of_the_highest_loss(tmp_path):
    words = [*HARD, *QUICK, "forget.balanced=false", f"outputs={tmp_path}"]
    rows = forgotten(execute(prepare(words)))
    job = drawn(tmp_path, *words)
    scores = job.choices[0].stages["loss"].read(Workshop(Cache(tmp_path / "cache")))
    assert scores.loss[np.isin(scores.index, rows)].min() >= scores.loss[~np.isin(scores.index, rows)].max()


@pytest.mark.slow
def test_a_sweep_over_seeds_forgets_the_same_rows(tmp_path):
    one, two = (execute(prepare([*HARD, *QUICK, f"outputs={tmp_path}", f"seed={seed}"])) for seed in (0, 1))
    assert np.array_equal(forgotten(one), forgotten(two))
    assert kinds(tmp_path)["train"] == 4
    other = execute(prepare([*HARD, *QUICK, f"outputs={tmp_path}", "forget.seed=1"]))
    assert not np.array_equal(forgotten(one), forgotten(other))
    assert kinds(tmp_path)["train"] == 5  # the original of seed 1 is there; one more model is retrained


def test_what_cannot_run_ends_before_anything_trains(tmp_path):
    with pytest.raises(UserError, match="leaves fewer than two"):
        execute(prepare([*HARD, *QUICK, "forget.fraction=null", "forget.count=10000", f"outputs={tmp_path}"]))
    twice = "forget.requests=[{forget: hard, score: loss}, {forget: hard, score: loss}]"
    with pytest.raises(UserError, match="is already taken"):
        execute(prepare([*TINY, *QUICK, "forget=stream", twice, f"outputs={tmp_path}"]))
    assert not kinds(tmp_path)


@pytest.mark.parametrize("score", ["learning_events", "entanglement", "memorisation"])
def test_every_score_chooses_levels_that_do_not_overlap(score, tmp_path):
    words = (
        *HARD,
        f"forget.score={score}",
        "forget.models=4",
        "method=none",
        "reference.count=0",
        f"outputs={tmp_path}",
    )
    low, high = (forgotten(execute(prepare([*words, f"forget.level={level}"]))) for level in ("low", "high"))
    assert len(low) == len(high) and not np.intersect1d(low, high).size
    assert kinds(tmp_path)["train"] == {"memorisation": 5}.get(score, 1)


def test_learning_events_repeat_the_original_s_training(tmp_path):
    words = (*HARD, "forget.score=learning_events", "method=none", "reference.count=0", f"outputs={tmp_path}")
    execute(prepare(words))
    job = drawn(tmp_path, *words)
    shop = Workshop(Cache(tmp_path / "cache"))
    events = shop.artefact(job.choices[0].stages["learning_events"])
    scores = {split: one.read(shop) for split, one in job.picture[0].scores["original"].items()}
    index, right = job.choices[0].world.all, events.tensors["right"].numpy()
    assert right.shape == (2, len(index))
    for split in ("retain", "forget"):
        mine = np.isin(index, scores[split].index)
        assert np.array_equal(right[-1][mine], scores[split].right[1])


def test_worst_rows_lose_little_and_best_rows_much(tmp_path):
    words = (*TINY, "plots=false", "forget=worst", "forget.rounds=2", "method=none", "reference.count=0")
    shop = Workshop(Cache(tmp_path / "cache"))
    loss = {}
    for side in ("worst", "best"):
        mine = [*words, f"forget.side={side}", f"outputs={tmp_path}"]
        rows = forgotten(execute(prepare(mine)))
        choice = drawn(tmp_path, *mine).choices[0]
        left = shop.artefact(choice.stages["search"]).tensors
        loss[side] = float(left["loss"].numpy()[np.isin(choice.world.all, rows)].mean())
        assert float(left["weight"].sum()) == pytest.approx(len(rows), abs=1)
    assert loss["worst"] < loss["best"]


def test_a_stream_may_have_requests_that_models_choose(tmp_path):
    requests = "[{forget: hard, score: loss, level: low}, {forget: hard, score: loss, level: high}]"
    words = [*TINY, "plots=false", "method=none", "reference.count=0", "forget=stream", f"forget.requests={requests}"]
    done = execute(prepare([*words, f"outputs={tmp_path}"]))
    rows = pandas.read_csv(done.folder / "metrics.csv")
    assert sorted(rows["request"].unique()) == [1, 2]
    assert kinds(tmp_path)["train"] == 1


@pytest.mark.slow
def test_a_damaged_choice_is_made_again(tmp_path):
    words = [*HARD, *QUICK, f"outputs={tmp_path}"]
    first = execute(prepare(words))
    rows, job = forgotten(first), drawn(tmp_path, *words)
    (tmp_path / "cache" / "stages" / job.stages[0].key / "tensors.safetensors").write_bytes(b"spoiled")
    again = execute(prepare([*words, "seed=2"]))
    assert np.array_equal(forgotten(again), rows)
    assert list((tmp_path / "cache" / "damaged").iterdir())


@pytest.mark.slow
def test_a_choice_that_repeats_a_training_needs_one(tmp_path):
    first = execute(prepare([*HARD, *QUICK, "save_model=true", f"outputs={tmp_path}"]))
    words = [*HARD, *QUICK, f"model.checkpoint={first.folder / 'model' / 'model.safetensors'}", f"outputs={tmp_path}"]
    with pytest.raises(UserError, match=r"forget\.score=memorisation repeats the original's training"):
        execute(prepare([*words, "forget.score=memorisation"]))
    assert execute(prepare(words)).status == "done"


def test_a_job_of_an_array_chooses_and_then_does_the_rest(tmp_path):
    words = [*HARD, *QUICK, "threads=1", f"outputs={tmp_path}"]
    laid_out = plan.with_stages(Sweep(words, (), ()), tmp_path)
    assert laid_out.choosing == 1 and [one.level for one in laid_out.chunks] == ["train", "unlearn"]
    assert [work(laid_out, tmp_path, number) for number in (0, 1)] == [0, 0]
    assert kinds(tmp_path)["train"] == 2 and kinds(tmp_path)["unlearn"] == 1
    again = plan.with_stages(Sweep(words, (), (), planning=True), tmp_path)
    assert not again.choosing and not again.chunks and len(again.entries) > len(laid_out.entries)


@pytest.mark.slow
def test_workers_choose_and_then_do_the_rest(tmp_path, capsys):
    from unlearnbench.commands import plan as planned
    from unlearnbench.commands import run

    words = ["-m", *TINY, "forget=hard", "forget.score=loss", "method=none,finetune", f"outputs={tmp_path}"]
    assert planned.main(words) == 0
    assert "choose the forget set of 2 jobs" in capsys.readouterr().out
    sweep = [*words, f"hydra.sweep.dir={tmp_path}/sweep", "runner=local", "runner.workers=2"]
    assert run.main(sweep) == 0
    assert list(pandas.read_csv(tmp_path / "sweep" / "jobs.csv")["status"]) == ["done", "done"]
    assert kinds(tmp_path)["train"] == 2
    assert planned.main(words) == 0
    assert "choose the forget set" not in capsys.readouterr().out


@pytest.mark.slow
def test_text_is_chosen_by_what_the_model_says_of_its_options(tmp_path):
    words = (
        "dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20",
        "model.hidden=16", "model.vocabulary=600", "train.epochs=1", "eval.generate=0", "method=none",
        "forget.whole_pairs=true", f"outputs={tmp_path}",
    )  # fmt: skip
    hard = ("forget=hard", "forget.score=learning_events"), ("forget=hard", "forget.score=entanglement")
    for more in (*hard, ("forget=worst", "forget.rounds=1")):
        done = execute(prepare([*words, *more]))
        assert len(forgotten(done))
        assert json.loads((done.folder / "result.json").read_text())["twins_retained"] == 0
