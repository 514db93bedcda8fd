"""The figures of a report: names never lie on each other, and what is drawn is what can be."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

from unlearnbench.plots import cost, dots, multiples, tradeoff
from unlearnbench.plots import report as plots
from unlearnbench.plots.figures import plain_text
from unlearnbench.plots.looks import FAMILIES
from unlearnbench.plots.multiples import Curves
from unlearnbench.plots.picture import Picture, save
from unlearnbench.report.board import Board, Cell, Line
from unlearnbench.report.headline import ANSWERS, CHOICES
from unlearnbench.request.catalogue import families

SPLITS = ("retain", "forget", "test")
ODD = (r"$\frac{$", "$x_1$", "a_b^c", "{{ x }}", "a\x1b[31mb", "\N{RIGHT-TO-LEFT OVERRIDE}x", "tab\there", "w" * 90)
LONG = "ssd (method.alpha=10, method.bound=1, method.lower=2)"


def line(name, role, rates, gap=0.0, price=1.0):
    cells = {split: Cell(mean, mean - 0.3, min(mean + 0.02, 1.0)) for split, mean in zip(SPLITS, rates, strict=True)}
    return Line(name, role, cells, gap=Cell(gap), cost=Cell(price), seeds=3)


def board(count, names=()):
    """A board of so many methods, most of them near the target as in real ones; the rest anywhere."""
    draw = np.random.default_rng(0)
    target = np.array([0.85, 0.0, 0.72])
    lines = [line("retrained", "retrained", target), line("original", "original", (0.84, 0.82, 0.8))]
    near = np.abs(draw.normal(0, 0.01, (count, 3))) + target * draw.choice([1, 0.97], (count, 1))
    far = draw.uniform(0, 1, (count, 3))
    rates = np.where(draw.uniform(size=(count, 1)) < 0.7, near, far)
    gaps = np.abs(rates - target).mean(axis=1)
    named = [*names, *(f"{LONG if at % 9 == 8 else 'method'}_{at}" for at in range(count))]
    lines += [
        line(named[at], "unlearned", rates[at], float(gaps[at]), float(draw.lognormal(-1, 1)))
        for at in np.argsort(gaps)
    ]
    kinds = dict(zip(named, itertools.cycle(FAMILIES), strict=False))
    floor = {("accuracy", "retain"): 0.003, ("accuracy", "forget"): 0.0}
    return Board("m on d", tuple(lines), 0.004, floor, families=kinds)


def curves(count):
    names = [f"{LONG}_{at}" for at in range(count)]
    path = [(0, 0.9, 0.9), (4, 0.5, 0.8), (8, 0.1, 0.7)]
    curve = [(step, step / 100) for step in (0, 1, 2, 4, 8, 16, 32, 64)]
    back = {name: curve for name in ("original", "retrained", *names)}
    return Curves("exact memorisation", dict.fromkeys(names, path), back, (0.0, 0.85))


def texts(drawn):
    """Return the boxes of all words that can be seen in a figure, in pixels."""
    drawn.canvas.draw()
    found = [*drawn.texts, *(text for legend in drawn.legends for text in legend.get_texts())]
    for axes in (one for one in drawn.axes if one.get_visible()):
        found += [*axes.texts, axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_visible()]
    seen = [one for one in found if one and one.get_text() and one.get_visible()]
    return [(one.get_text(), Text.get_window_extent(one)) for one in seen]


DRAWINGS = {
    "tradeoff": lambda count: tradeoff.draw(board(count)),
    "cost": lambda count: cost.draw(board(count)),
    "dots": lambda count: dots.draw(board(count)),
    "paths": lambda count: multiples.paths(curves(count)),
    "relearned": lambda count: multiples.relearned(curves(count)),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, count) for name in ("tradeoff", "cost", "dots") for count in (3, 60, 200)),
        ("paths", 3),
        ("relearned", 12),
    ],
)
def test_words_of_a_figure_never_lie_on_each_other_and_are_all_inside(name, count):
    with plain_text():
        drawn = DRAWINGS[name](count)
        boxes = texts(drawn)
    assert len(boxes) > 8 and not any("$" in word for word, _ in boxes)
    width, height = drawn.canvas.get_width_height()
    for word, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, word
    for (word, box), (other, second) in itertools.combinations(boxes, 2):
        across = min(box.x1, second.x1) - max(box.x0, second.x0)
        up = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert across <= 0.5 or up <= 0.5, f"{word!r} lies on {other!r}"


def test_the_nearest_methods_have_names_and_the_caption_counts_the_rest():
    many = board(200)
    with plain_text():
        named = {text.get_text() for axes in tradeoff.draw(many).axes for text in axes.texts}
        dearest = {text.get_text() for text in cost.draw(many).axes[0].texts}
    methods = [one.name for one in many.lines if one.role == "unlearned"]
    assert sum(name[:30] in {one[:30] for one in named} for name in methods[:12]) >= 9
    assert len(dearest) >= 8
    assert "140 methods further away" in dots.words(many)[1]
    alt, caption = tradeoff.words(many)
    assert "retrained 0.000 and 0.850" in alt and "0.000 on forget and 0.003 on retain" in caption


def test_the_front_has_what_no_other_beats_in_both_and_no_baseline():
    lines = [
        line(name, "unlearned", (0.5, 0.5, 0.5), gap, price)
        for name, gap, price in (("a", 0.1, 1.0), ("b", 0.2, 0.5), ("beaten", 0.3, 0.6), ("none", 0.4, 0.001))
    ]
    one = Board("m on d", tuple(lines), 0.1, {}, families={"none": "baseline"})
    assert [line.name for line in cost.front(one)] == ["a", "b"]


def test_the_cost_is_in_processor_seconds_where_all_methods_know_them():
    """Wall-clock seconds of one that ran beside other work would put it behind the others."""
    lines = [
        replace(line(name, "unlearned", (0.5, 0.5, 0.5), gap, price), compute=Cell(worked))
        for name, gap, price, worked in (("a", 0.1, 9.0, 0.4), ("b", 0.2, 0.5, 0.5))
    ]
    known = Board("m on d", tuple(lines), 0.1, {})
    assert [one.cost for one in cost.priced(known)] == [0.4, 0.5]
    assert [one.name for one in cost.front(known)] == ["a"]
    assert "CPU or GPU seconds" in cost.words(known)[0]
    half = replace(known, lines=(lines[0], replace(lines[1], compute=Cell())))
    assert [one.cost for one in cost.priced(half)] == [9.0, 0.5]
    assert [one.name for one in cost.front(half)] == ["a", "b"]
    assert "CPU" not in cost.words(half)[0]


def test_intervals_and_limits_stay_where_rates_can_be():
    wide = {split: Cell(0.5, -3.0, 4.0) for split in SPLITS}
    one = Board("m on d", (Line("retrained", "retrained", wide), Line("none", "unlearned", wide)), 0.1, {})
    with plain_text():
        for drawn in (tradeoff.draw(one), dots.draw(one)):
            ends = [xy for axes in drawn.axes for found in axes.collections for path in found.get_paths()
                    for xy in path.vertices if type(found).__name__ == "LineCollection"]  # fmt: skip
            assert ends and all(x <= 1.0 and y <= 60 and x >= 0 for x, y in ends)
    (axes,) = tradeoff.draw(one).axes
    assert axes.get_xlim()[0] >= -0.1 and axes.get_ylim()[1] <= 1.1


def test_odd_names_are_drawn_as_they_are():
    with plain_text():
        drawn = dots.draw(board(len(ODD), ODD))
    labels = {text.get_text() for text in drawn.axes[0].get_yticklabels()}
    assert {"$x_1$", r"$\frac{$", "a_b^c", "a [31mb", " x", "tab here"} <= labels
    assert max(map(len, labels)) <= 40


def test_each_family_has_a_look():
    assert set(families()) < set(FAMILIES)
    assert len({look.colour for look in FAMILIES.values()}) == len({look.marker for look in FAMILIES.values()}) == 10


def test_equal_figures_are_equal_files_in_three_formats(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with plain_text():
            save(dots.draw(board(3)), Picture(file=tmp_path / folder / "a.png", alt="", caption=""))
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert first == second and sorted(first) == ["a.pdf", "a.png", "a.svg"]


def test_the_figure_of_methods_is_named_by_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "save", lambda drawn, picture: None)
    one = Line("none", "unlearned", {split: Cell(0.5) for split in SPLITS})
    for headline, name in ((CHOICES, "accuracy"), (ANSWERS, "exact_memorisation")):
        boards = [Board("title", (one,), 0.1, {}, headline=headline)] * 2
        names = [[picture.file.stem for picture in found] for found in plots.draw(tmp_path, boards)]
        assert names == [[f"retain_forget_{at}", f"{name}_by_method_{at}"] for at in (1, 2)]
