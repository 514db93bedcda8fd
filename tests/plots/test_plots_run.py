"""A run's figures: they exist, they show something, and a hundred classes do not break them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from unlearnbench.evidence import Scores
from unlearnbench.plots import run
from unlearnbench.plots.run import draw, tried


def scores(count, classes, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes)).astype(np.float32)
    return Scores(logits, generator.integers(0, classes, count), np.arange(count))


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("divided", [True, False])
def test_all_figures_show_something(tmp_path, classes, divided):
    splits = ("retain", "forget", "test", *(("test_retain", "test_forget") if divided else ()))
    roles = [{split: scores(200, classes, seed) for split in splits} for seed in range(3)]
    curve = [{"epoch": 1.0, "loss": 2.0, "lr": 0.1, "validation_accuracy": 0.4, "validation_loss": 2.0}]
    names = tuple(f"class{number}" for number in range(classes))
    draw(
        tmp_path,
        roles[0],
        (roles[1],),
        roles[2],
        names,
        {"original": curve, "unlearned": [{"epoch": 1.0, "loss": 1.0}]},
    )
    for name in ("confusion", "accuracy_by_class", "membership", "training_curves"):
        assert imread(tmp_path / "plots" / f"{name}.png").std() > 0.01


def axes_of(monkeypatch, tmp_path, by_split, classes):
    """Draw a run's figures; return the axes of each by the file's name."""
    drawn = {}
    monkeypatch.setattr(run, "save", lambda figure, path: drawn.setdefault(path.stem, figure.axes))
    draw(tmp_path, by_split, (by_split,), by_split, classes, {})
    return drawn


@pytest.mark.parametrize(("forgotten", "bars"), [(40, ["a", "b", "c"]), (10, ["a", "b", "c", "forgotten part"])])
def test_what_is_forgotten_is_marked_and_a_part_of_a_class_has_bars_of_its_own(monkeypatch, tmp_path, forgotten, bars):
    label = np.repeat([0, 1, 2], 40)
    test = Scores(np.eye(3, dtype=np.float32)[label], label, np.arange(120))
    by_split = {"forget": test, "test": test, "test_forget": test.rows(np.arange(40, 40 + forgotten))}
    drawn = axes_of(monkeypatch, tmp_path, by_split, ("a", "b", "c"))
    assert [text.get_text() for text in drawn["accuracy_by_class"][0].get_xticklabels()] == bars
    weights = [text.get_fontweight() for text in drawn["confusion"][0].get_yticklabels()]
    assert weights == ["normal", "bold", "normal"]


def test_no_curves_and_equal_losses_are_drawn(tmp_path):
    same = {split: Scores(np.zeros((5, 3), np.float32), np.zeros(5, int), np.arange(5)) for split in ("forget", "test")}
    draw(tmp_path, same, (same,), same, ("a", "b", "c"), {})
    assert (tmp_path / "plots" / "training_curves.png").exists()


def test_without_validation_data_there_is_one_panel_of_curves(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(run, "save", lambda figure, path: drawn.setdefault(path.stem, figure.axes))
    same = {split: scores(5, 3, 0) for split in ("forget", "test")}
    for seen, panels in (({}, 1), ({"validation_accuracy": 0.5}, 2)):
        drawn.clear()
        draw(tmp_path, same, (), same, ("a", "b", "c"), {"original": [{"epoch": 1.0, "loss": 2.0, **seen}]})
        assert len(drawn["training_curves"]) == panels


@pytest.mark.parametrize("ends", [(-4.1, 2.1), (-4.1, -1.0), (-0.2, 0.4), (-0.6, 0.9), (0.2, 0.8), (-1.5, 1.4)])
def test_the_axis_of_losses_has_few_ticks_and_never_none(ends):
    assert 2 <= len(run._decades(*ends)) <= 6


def test_what_a_method_tried_is_drawn_where_it_says_what_it_chose(tmp_path, monkeypatch):
    tried(tmp_path, {})
    apart = [{"share": 0.5, "chosen": 1.0, "accuracy": 1.0}, {"share": 0.5}]
    tried(tmp_path, {"other": [{"share": 0.5}], "none": [], "alone": [{"chosen": 1.0}], "apart": apart})
    assert not list(tmp_path.rglob("*.png"))
    rows = [{"share": share, "chosen": 0.0, "forget_accuracy": 1 - share, "retain_accuracy": 0.9} for share in (0, 0.5)]
    tables = {"strength": [*rows, {**rows[1], "share": 0.25, "chosen": 1.0}]}
    tried(tmp_path, tables)
    assert (tmp_path / "plots" / "tried_strength.png").stat().st_size > 5000
    axes = []
    monkeypatch.setattr(run, "save", lambda figure, path: axes.extend(figure.axes))
    tried(tmp_path, tables)
    forget, marked = axes[0].lines[:2]
    assert list(forget.get_xdata()) == [0, 0.25, 0.5] and list(marked.get_xdata()) == [0.25]
    said = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert said == ["forget accuracy", "retain accuracy", "chosen: 0.25"]
