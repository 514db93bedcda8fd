"""Path: a run's numbers along its unlearning, and where a rule that sees forget and validation would have stopped."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.plots.path import Trail, draw
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY

ASKED = (*TINY, "train.epochs=8", "eval=[standard,path]", "plots=true")


def found(outputs, *words):
    """Run a line; return its rows by role, split and metric, result.json, and the folder."""
    folder = execute(prepare([*ASKED, f"outputs={outputs}", *words])).folder
    rows = pandas.read_csv(folder / "metrics.csv").set_index(["role", "split", "metric"])["value"]
    return rows, json.loads((folder / "result.json").read_text()), folder


def points(rows):
    """Return the roles of the points, in order."""
    return [role for role in dict.fromkeys(rows.index.get_level_values(0)) if role.startswith("unlearned_step")]


@pytest.mark.slow
def test_a_path_goes_from_the_original_to_the_unlearned_model_and_stops_where_forget_is_like_validation(tmp_path):
    words = ("forget=random", "method=neggrad_plus", "method.epochs=4", "reference.count=2")
    rows, result, folder = found(tmp_path, *words)
    path = result["evaluations"]["path"]
    assert len(points(rows)) == len(path["steps"]) == 9 and path["repeats"]
    assert path["steps"] == sorted(set(path["steps"])) and path["seconds"] == sorted(path["seconds"])
    for place, role in ((0, "original"), (-1, "unlearned")):
        for split in ("retain", "forget", "test"):
            for metric in ("accuracy", "loss"):
                assert rows[points(rows)[place], split, metric] == rows[role, split, metric]
    unlike = [rows[role, "forget", "unlike_unseen"] for role in points(rows)]
    assert rows["unlearned_stopped", "forget", "unlike_unseen"] == min(unlike)
    gaps = [rows[role, "forget", "mean_gap"] for role in points(rows)]
    assert rows["unlearned_best", "forget", "mean_gap"] == min(gaps)
    away = [rows["unlearned", split, "gap_accuracy"] for split in ("retain", "forget", "test")]
    assert gaps[-1] == rows["unlearned", "forget", "mean_gap"] == pytest.approx(np.abs(away).mean())
    stopped = rows["unlearned_stopped", "forget", "mean_gap"]
    assert rows["unlearned", "forget", "stop_gain"] == pytest.approx(gaps[-1] - stopped)
    assert (folder / "plots" / "path.png").stat().st_size > 10_000
    again, more, _ = found(tmp_path, *words, "eval.path.points=4", "plots=false")
    again, more, _ = found(tmp_path, *words, "eval.path.points=4", "plots=false")
    assert len(points(again)) == 5 and all(more["reused"].values())


@pytest.mark.slow
def test_of_whole_classes_it_stops_where_they_are_no_longer_known(tmp_path):
    rows, result, _ = found(tmp_path, "forget=class", "method=scrub", "eval.path.spacing=log", "eval.limit=50")
    unlike = [rows[role, "forget", "unlike_unseen"] for role in points(rows)]
    assert unlike == [rows[role, "forget", "accuracy"] for role in points(rows)]
    assert rows["retrained", "forget", "unlike_unseen"] == 0  # the null
    assert ("unlearned", "forget", "unlike_by_chance") not in rows.index
    assert rows["unlearned_stopped", "forget", "accuracy"] == min(unlike)
    assert result["evaluations"]["path"]["steps"][:4] == [0, 1, 2, 3] or len(points(rows)) < 9


@pytest.mark.slow
def test_without_steps_there_is_a_start_and_an_end_and_nowhere_to_stop(tmp_path):
    rows, result, _ = found(tmp_path, "forget=random", "method=ssd", "reference.count=0")
    assert points(rows) == ["unlearned_step_0", "unlearned_step_end"]
    assert "takes no steps" in result["evaluations"]["path"]["says"]
    assert not {"unlearned_stopped", "unlearned_best"} & set(rows.index.get_level_values(0))


@pytest.mark.slow
@pytest.mark.parametrize("words", [("method=task_vector",), ("method=scrub", "method.rewind=true")])
def test_a_method_that_goes_elsewhere_at_its_end_has_no_stop(tmp_path, words):
    rows, result, _ = found(tmp_path, "forget=random", *words)
    elsewhere = "not where its last step led" in result["evaluations"]["path"]["says"]
    stops = "unlearned_stopped" in rows.index.get_level_values(0)
    assert elsewhere is not stops
    assert elsewhere or words[0] == "method=scrub"  # which may choose its last epoch


@pytest.mark.slow
def test_where_a_column_goes_no_validation_row_is_like_it(tmp_path):
    words = ("dataset=clinical_notes", "dataset.limit=80", "dataset.limit_test=40", "model=llama_tiny", "method=npo")
    column = ("forget.column=axis", "forget.value=race")
    rows, result, _ = found(tmp_path, *words, *column, "model.adapter.r=4", "train.epochs=2")
    assert "no validation rows are like" in result["evaluations"]["path"]["says"]
    assert result["evaluations"]["path"]["repeats"]
    assert ("unlearned_step_0", "validation", "accuracy") in rows.index


def test_one_point_is_refused_before_anything_trains(tmp_path):
    with pytest.raises(UserError, match=r"eval\.path\.points=1: expected .*2"):
        assemble(prepare([*ASKED, f"outputs={tmp_path}", "eval.path.points=1"]))


@pytest.mark.parametrize("steps", [[0, 5, 10], [0, 0]])
def test_the_figure_is_drawn_with_and_without_steps_stops_and_references(tmp_path, steps):
    rates = {split: [0.9, 0.8, 0.7][: len(steps)] for split in ("retain", "forget", "test")}
    trail = Trail(
        steps=steps, rates=rates, retrained=[dict.fromkeys(rates, 0.5)] * (len(steps) - 1),
        stopped=1 if len(steps) > 2 else None, best=None, rate="accuracy", spaced="log", words="Words.",
    )  # fmt: skip
    draw(tmp_path / "path.png", trail)
    assert (tmp_path / "path.png").is_file()


def test_a_number_in_place_of_the_settings_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"its settings have names\.\nTry: 'eval=\[standard,path\]'"):
        assemble(prepare([*ASKED, f"outputs={tmp_path}", "eval.path=8"]))
