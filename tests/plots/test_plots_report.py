"""The figures of a report: what they show stays where accuracies can be."""

from __future__ import annotations

import pytest

from unlearnbench.plots import report as plots
from unlearnbench.plots.report import draw, spread
from unlearnbench.report.headline import ANSWERS, CHOICES
from unlearnbench.report.leaderboard import Board, Cell, Line


def test_intervals_end_where_accuracies_do():
    below, above = spread(Cell(0.9, 0.6, 1.2))
    assert (below, above) == ([pytest.approx(0.3)], [pytest.approx(0.1)])
    assert spread(Cell(0.25, -2.0, 2.5)) == [[0.25], [0.75]]
    assert spread(Cell(0.5)) is None


def test_the_figure_of_methods_is_named_by_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda drawn, path: None)
    line = Line("none", "unlearned", {split: Cell(0.5) for split in ("retain", "forget", "test")})
    for headline, name in ((CHOICES, "accuracy"), (ANSWERS, "exact_memorisation")):
        paths = draw(tmp_path, [Board("title", (line,), 0.1, {}, headline=headline)])
        assert [path.stem for path in paths] == ["retain_forget", f"{name}_by_method"]


def test_axes_of_the_scatter_hold_no_impossible_accuracy(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(plots, "save", lambda drawn, path: kept.append(drawn))
    wide = {split: Cell(0.5, -3.0, 4.0) for split in ("retain", "forget", "test")}
    sharp = {split: Cell(1.0, 1.0, 1.0) for split in wide}
    draw(tmp_path, [Board("title", (Line("retrained", "retrained", wide), Line("none", "unlearned", sharp)), 0.1, {})])
    (axes,) = kept[0].axes
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)
