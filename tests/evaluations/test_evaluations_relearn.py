"""Relearn: half of forget is taught, the other half tells how much comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas
import pytest

from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import by_role
from unlearnbench.evaluations.halves import halves
from unlearnbench.evaluations.relearn import Relearn, area, marks_up_to, speed
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.column import Column
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, llama, notes, synthetic, world

BIASED = Column(column="is_biased", value=True, fraction=1.0, seed=0)


def parted(here):
    return halves(here.splits.forget, here.bench.data.unit, "test")


def test_halves_divide_forget_and_keep_pairs_together():
    dataset = notes()
    here = world(dataset, dataset.load(), llama(), BIASED, generate=0)
    taught, held = parted(here)
    assert np.array_equal(np.union1d(taught, held), here.splits.forget) and not np.intersect1d(taught, held).size
    unit = here.bench.data.unit
    assert not np.intersect1d(unit[taught], unit[held]).size
    pair = np.flatnonzero(unit == unit[here.splits.forget[0]])
    taught, held = parted(replace(here, splits=replace(here.splits, forget=pair)))
    assert (len(taught), len(held)) == (1, 1)
    images = synthetic()
    taught, held = parted(world(images, images.load(), TinyCNN(checkpoint=None), ByClass(classes=(0,), seed=0)))
    assert abs(len(taught) - len(held)) <= 1


def test_steps_and_areas_by_hand():
    assert (
        marks_up_to(64) == (0, 1, 2, 4, 8, 16, 32, 64)
        and marks_up_to(1) == (0, 1)
        and marks_up_to(5) == (0, 1, 2, 4, 5)
    )
    assert area((0, 1, 2, 4), np.array([9.0, 0.0, 0.5, 1.0])) == pytest.approx(0.5)
    assert area((0, 1), np.array([9.0, 0.3])) == pytest.approx(0.3)


def test_speed_is_measured_at_half_of_the_lead():
    """The original has .8 and retrained .2 before: half of the lead is at .5."""
    marks = (0, 1, 2, 4, 8)
    curves = {
        "original": np.full(5, 0.8), "retrained_0": np.array([0.2, 0.2, 0.2, 0.4, 0.6]),
        "retrained_1": np.array([0.2, 0.2, 0.2, 0.6, 0.8]), "unlearned": np.array([0.1, 0.5, 0.9, 0.9, 0.9]),
    }  # fmt: skip
    assert speed(marks, curves) == pytest.approx(1 / 4)
    assert speed(marks, {**curves, "unlearned": curves["original"]}) == 0  # it never lost anything
    assert speed(marks, {**curves, "unlearned": np.zeros(5)}) == pytest.approx(16 / 4)
    assert speed(marks, {**curves, "original": np.full(5, 0.2)}) is None
    assert speed(marks, {"original": np.ones(5), "unlearned": np.ones(5)}) is None


def test_the_gap_is_0_under_the_null_also_of_the_largest_of_several():
    draw, gaps = np.random.default_rng(0), []
    for _ in range(400):
        values = {role: draw.normal(size=3).max() for role in ("original", "retrained_0", "retrained_1", "unlearned")}
        rows = {(row.role, row.metric): row.value for row in by_role("gain", "forget", values)}
        gaps.append(rows["unlearned", "gap_gain"])
        assert rows["retrained", "floor_gain"] == pytest.approx(abs(values["retrained_0"] - values["retrained_1"]))
        assert rows["retrained", "gain"] == pytest.approx((values["retrained_0"] + values["retrained_1"]) / 2)
    assert abs(np.mean(gaps)) < 0.12  # the standard error is .046
    assert [(row.role, row.metric) for row in by_role("gain", "forget", {"unlearned": 1.0})] == [("unlearned", "gain")]


@pytest.mark.slow
@pytest.mark.plots
def test_a_run_has_a_curve_for_each_role_and_none_regains_what_it_never_lost(tmp_path):
    words = [*TINY, "plots=true", "train.epochs=8", "method=none", "eval=[standard,relearn]", f"outputs={tmp_path}"]
    words += ["eval.relearn.steps=4", "eval.relearn.seeds=2", "eval.relearn.teach=[forget,retain,benign]"]
    folder = execute(prepare(words)).folder
    rows = pandas.read_csv(folder / "metrics.csv")
    curve = rows[rows["split"] == "forget_held"].set_index("role")["value"]
    assert len(curve) == 3 * 3 * 4  # roles, kinds of rows, and 0, 1, 2, 4 steps
    assert list(curve.filter(like="unlearned")) == list(curve.filter(like="original"))  # method=none
    after = [curve[[f"{role}_relearned_forget_{k}" for k in (1, 2, 4)]] for role in ("unlearned", "retrained")]
    gap = rows[rows["metric"] == "gap_relearn_area"]["value"].item()
    assert gap == pytest.approx(np.dot([0.25, 0.5, 0.25], after[0].to_numpy() - after[1].to_numpy())) and gap > 0
    assert rows[rows["metric"] == "relearn_speed"]["value"].item() == 0
    assert {"gap_relearn_area_retain", "gap_relearn_area_benign"} <= set(rows["metric"])
    assert (folder / "plots" / "relearning.png").stat().st_size > 1000


def test_what_cannot_be_taught_is_refused():
    dataset = notes()
    here = world(dataset, dataset.load(), llama(), BIASED, generate=0)
    with pytest.raises(UserError, match="each once"):
        prepare_eval("eval.relearn.teach=[forget,forget]")
    settings = Relearn(teach=("benign",), steps=1, seeds=1, batch_size=8, optimizer=None)
    nobody = replace(here.splits, validation=np.arange(0), validation_retain=None)
    with pytest.raises(UserError, match=r"Try: 'eval.relearn.teach=\[retain\]'"):
        settings.stages(models(), replace(here, splits=nobody))
    with pytest.raises(UserError, match="one row is too few"):
        settings.stages(models(), replace(here, splits=replace(here.splits, forget=here.splits.forget[:1])))


def prepare_eval(word):
    from unlearnbench.assemble import assemble

    assemble(prepare([*TINY, "method=none", "eval=[relearn]", word]))


def models():
    """The roles of a small run, of which only the recipe is looked at."""
    from unlearnbench.assemble import assemble
    from unlearnbench.experiment import build
    from unlearnbench.stages.benches import Benches

    experiment = assemble(prepare([*TINY, "method=none"])).experiment
    return build(experiment, Benches().of(experiment))[0].models
