#!/usr/bin/env python3
"""Make the tables and pictures of docs/results/methods.md from the reports of its sweeps.

    unlearnbench run experiment=methods_images runner=local runner.workers=2
    unlearnbench run experiment=methods_text runner=local runner.workers=2
    python scripts/build_methods_page.py images=REPORT text=REPORT [resnet18=REPORT] [smollm2=REPORT]
    python scripts/build_methods_page.py cifar10=docs/results/cifar10
    python scripts/build_methods_page.py images+=REPORT        # the methods in REPORT alone: their defaults are new

The table of CIFAR-10 is made from rows that are kept, so that seeds can be added another day. REPORT is the folder
`report` of a sweep. A part of the page between `<!-- NAME -->` and `<!-- end of NAME -->` is made anew if its report is
given. All else, the notes on methods above all, is written by hand and stays as it is.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas
from methods_reported import SPLITS, beside

from unlearnbench.plots.cost import plain_log
from unlearnbench.plots.figures import figure, plain_text, save, tidy
from unlearnbench.plots.labels import name_points
from unlearnbench.plots.looks import FAMILIES, OTHER
from unlearnbench.report.summary import interval
from unlearnbench.request.catalogue import entries

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results" / "methods.md"
IMAGES = ROOT / "docs" / "images"
PRESET_FILES = ROOT / "configs" / "experiment"
PRESETS = {
    "images": "methods_images", "resnet18": "methods_images_resnet18", "text": "methods_text",
    "smollm2": "methods_text_smollm2", "cifar10": "methods_cifar10",
}  # fmt: skip
"""The parts of the page, and the presets whose reports they show."""
BIAS = (("corrected answers", "accuracy_corrected", "test_forget"), ("flip rate", "flip_rate", "test"))
"""Further columns where the data have them."""
FIRST = ("none", "retrain")
LEAST = 1e-3
"""Where the axes of the picture begin."""


@dataclass(frozen=True)
class Number:
    """A mean over seeds with its 95 % interval; NaN where it is not known."""

    mean: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return ""
        return f"{self.mean:.3f}" + ("" if math.isnan(self.low) else f" ± {self.high - self.mean:.3f}")


def number(values: Sequence[float]) -> Number:
    """Return the mean of values of different seeds, and from three on its interval; of two, t is 12.7 times as wide."""
    mean, low, high, _ = interval(list(values))
    return Number(mean, low, high) if len(values) > 2 else Number(mean)


@dataclass(frozen=True)
class Line:
    """A method's numbers on one forget set."""

    method: str
    family: str
    gap: Number
    rates: tuple[Number, ...]
    membership: Number
    cost: Number
    examples: Number
    seeds: int


class Sweep:
    """The rows of one forget set in a report."""

    def __init__(self, results: pandas.DataFrame, runs: pandas.DataFrame) -> None:
        self.results, self.runs = results, runs
        known = set(results["metric"])
        self.columns = [(f"{split} accuracy", "accuracy", split) for split in SPLITS]
        self.columns += [one for one in BIAS if one[1] in known]

    def values(self, role: str, metric: str, split: str, method: str | None = None) -> pandas.Series:
        """Return a metric's values by seed; those of the original and the references are the same for all methods."""
        found = self.results[(self.results["role"] == role) & (self.results["metric"] == metric)]
        found = found[found["split"] == split]
        found = found if method is None else found[found["method"] == method]
        return found.groupby("seed")["value"].mean()

    def line(self, method: str) -> Line:
        """Return a method's line."""
        gaps = [self.values("unlearned", "gap_accuracy", split, method).abs() for split in SPLITS]
        mine = self.runs[(self.runs["method"] == method) & (self.runs["status"] == "done")]
        return Line(
            method, family_of(method), number(list(sum(gaps) / len(SPLITS))),  # type: ignore[arg-type]
            tuple(number(list(self.values("unlearned", metric, split, method))) for _, metric, split in self.columns),
            number(list(self.values("unlearned", "gap_mia_confidence", "forget", method))),
            Number(float(mine["cost_ratio"].mean())), Number(float(mine["examples_ratio"].mean())), len(mine),
        )  # fmt: skip

    def accuracy(self, role: str, split: str, method: str | None) -> float:
        """Return a mean accuracy over seeds."""
        return float(self.values(role, "accuracy", split, method).mean())

    def lines(self) -> list[Line]:
        """Return the lines of all methods that ran."""
        return [self.line(method) for method in sorted(set(self.runs[self.runs["status"] == "done"]["method"]))]

    def floor(self) -> float:
        """Return how far two retrained models are apart in accuracy: of one seed, else of different ones."""
        within = [self.values("retrained", "floor_accuracy", split) for split in SPLITS]
        if all(len(one) for one in within):
            return sum(float(one.mean()) for one in within) / len(SPLITS)
        across = [list(self.values("retrained", "accuracy", split)) for split in SPLITS]
        pairs = [[abs(a - b) for at, a in enumerate(one) for b in one[at + 1 :]] for one in across]
        return sum(sum(one) / len(one) for one in pairs) / len(SPLITS) if all(pairs) else math.nan


@cache
def families() -> dict[str, str]:
    """Return the family of each method."""
    return {entry.name: entry.family for entry in entries("methods")}


def family_of(method: str) -> str:
    """Return a method's family, of NAME_paper that of NAME."""
    return families().get(method) or families().get(method.removesuffix("_paper"), "")


def table(sweep: Sweep) -> str:
    """Return a forget set's table: the retrained and original models, `none` and `retrain`, then the methods."""
    titles = ["method", "family", "gap to retrained", *(title for title, _, _ in sweep.columns), "membership gap"]
    rows = [[*titles, "cost ratio", "examples", "seeds"], ["---"] * (len(titles) + 3)]
    for role in ("retrained", "original"):
        own = [str(number(list(sweep.values(role, metric, split)))) for _, metric, split in sweep.columns]
        rows.append([f"*{role}*", "", "", *own, "", "", "", ""])
    floor = sweep.floor()
    known = "unknown" if math.isnan(floor) else f"{floor:.3f}"
    lines = [row_of(line, floor) for line in ordered(sweep.lines())]
    text = "\n".join([*(f"| {' | '.join(row)} |" for row in rows), *lines])
    return f"{text}\n\nNoise floor: {known}; * marks gaps within it.{others(sweep)}\n"


def ordered(lines: Iterable[Line]) -> list[Line]:
    """Return `none` and `retrain`, then the other methods, nearest to retrained first."""
    return sorted(lines, key=lambda line: (line.method not in FIRST, math.isnan(line.gap.mean), line.gap.mean))


def row_of(line: Line, floor: float) -> str:
    """Return a method as a row of a table."""
    star = " *" if line.gap.mean <= floor else ""
    own = [f"`{line.method}`", line.family, f"{line.gap}{star}", *map(str, line.rates), str(line.membership)]
    return f"| {' | '.join([*own, str(line.cost), str(line.examples), str(line.seeds)])} |"


def read(row: str) -> Line:
    """Return a method from its row of a table."""
    cells = [cell.strip().removesuffix(" *") for cell in row.strip("| \n").split(" | ")]

    def at(cell: str) -> Number:
        mean, _, half = cell.partition(" ± ")
        if not half:
            return Number(float(mean or "nan"))
        return Number(float(mean), float(mean) - float(half), float(mean) + float(half))

    method, family, gap, *rates, membership, cost, examples, seeds = cells
    return Line(
        method.strip("`"), family, at(gap), tuple(map(at, rates)), at(membership), at(cost), at(examples), int(seeds)
    )


def others(sweep: Sweep) -> str:
    """Return which methods have no numbers, and why."""
    rest = sweep.runs[sweep.runs["status"] != "done"]
    said = [
        f"`{method}` {status}" + (f" (seed {', '.join(map(str, sorted(rows['seed'])))})" if status != "skipped" else "")
        + f": {str(rows['reason'].iloc[0]).splitlines()[0].rstrip('.')}"
        for (method, status), rows in rest.groupby(["method", "status"])
    ]  # fmt: skip
    return " Without numbers: " + "; ".join(said) + "." if said else ""


def drawn(every_line: Sequence[Line], floor: float, path: Path) -> None:
    """Draw cost against gap, a panel for each family, with the other methods in grey."""
    lines = sorted(every_line, key=lambda line: line.gap.mean)
    lines = [line for line in lines if line.method not in FIRST and not math.isnan(place(line)[0])]
    shown = [one for one in dict.fromkeys(families().values()) if any(line.family == one for line in lines)]
    columns = min(3, len(shown))
    height = math.ceil(len(shown) / columns)
    with plain_text():
        canvas = figure(4.4 * columns, 3.4 * height)
        every = canvas.subplots(height, columns, squeeze=False, sharex=True, sharey=True).flatten()
        for axes, family in zip(every, shown, strict=False):
            panel(axes, lines, family, floor)
        for axes in every[len(shown) :]:
            axes.set_visible(False)
        for axes in every[max(len(shown) - columns, 0) : len(shown)]:  # also where the panel below is empty
            axes.tick_params(labelbottom=True)
        canvas.draw_without_rendering()
        canvas.set_layout_engine("none")
        for axes, family in zip(every, shown, strict=False):
            name_points(
                axes, {one.method: place(one) for one in lines if one.family == family}, list(map(place, lines))
            )
        save(canvas, path)


def panel(axes: Any, lines: Sequence[Line], family: str, floor: float) -> None:
    """Draw one family's panel."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, values in zip((axes.xaxis, axes.yaxis), zip(*map(place, lines), strict=True), strict=True):
        plain_log(axis, values)
    for line in lines:
        look, mine = FAMILIES.get(family, FAMILIES[OTHER]), line.family == family
        colour, size = (look.colour, 6) if mine else ("#dddddd", 4)
        axes.plot(*place(line), look.marker if mine else "o", color=colour, markersize=size, zorder=3 if mine else 2)
    axes.axvline(1.0, color="grey", linewidth=0.8, linestyle=":")
    if floor > 0:
        axes.axhline(floor, color="grey", linewidth=0.8, linestyle="--")
    axes.margins(0.08)
    tidy(axes, family, x="cost (1: retraining)", y="gap to retrained")


def place(line: Line) -> tuple[float, float]:
    """Return where a method lies in the picture: its cost, in examples where seconds are not known, and its gap."""
    cost = line.examples.mean if math.isnan(line.cost.mean) else line.cost.mean
    return max(cost, LEAST), max(line.gap.mean, LEAST)


def sweeps(report: Path) -> dict[str, Sweep]:
    """Return the rows of a report by forget set."""
    results, runs = pandas.read_csv(report / "results.csv"), pandas.read_csv(report / "runs.csv")
    found = {}
    for forget in sorted(runs[runs["status"] == "done"]["forget"].unique()):
        same = runs["forget"].isin((forget, forget.partition(":")[0]))  # a job without a run has its choice alone
        found[forget] = Sweep(results[results["forget"] == forget], runs[same])
    return found


def picture(name: str, forget: str) -> Path:
    """Return where the picture of a forget set in a part of the page lies."""
    label = re.sub(r"\W+", "_", forget.partition(":")[0])
    return IMAGES / f"methods_{name}_{label}.png"


def part(name: str, report: Path, _before: str) -> str:
    """Return a part of the page, and draw its pictures."""
    found = sweeps(report)
    seeds = sorted({int(seed) for sweep in found.values() for seed in sweep.runs["seed"].dropna()})
    parts = [f"`unlearnbench run experiment={PRESETS[name]}`, seeds {','.join(map(str, seeds))}.\n"]
    for forget, sweep in found.items():
        image = picture(name, forget)
        drawn(sweep.lines(), sweep.floor(), image)
        parts += [
            f"### Forgetting {forget}\n",
            table(sweep),
            f"![Cost against gap, {forget}](../images/{image.name})\n",
        ]
        preset, gaps = PRESET_FILES / f"{PRESETS[name]}.yaml", {line.method: line.gap.mean for line in sweep.lines()}
        if published := beside(preset, forget.partition(":")[0], sweep.accuracy, gaps):
            parts.append(published)
    return "\n".join(parts)


def renewed(name: str, report: Path, before: str) -> str:
    """Return a part with the rows of the methods in a report in the place of theirs, and draw its pictures again.

    Other rows stay as they are. Where the part gives no seconds, neither do the new rows: they are of another machine.
    """
    found = sweeps(report)
    sections = re.split(r"(?=^### Forgetting )", before.strip("\n"), flags=re.MULTILINE)
    named = {section.partition("\n")[0].removeprefix("### Forgetting "): section for section in sections[1:]}
    if unknown := found.keys() - named.keys():
        raise SystemExit(f"the part {name} has no table of {', '.join(sorted(unknown))}")
    for forget, sweep in found.items():
        if missing := set(sweep.runs[sweep.runs["status"] != "done"]["method"]):
            raise SystemExit(f"{forget}: {', '.join(sorted(missing))} left no numbers, so the part must be made anew")
        named[forget] = replaced(named[forget], sweep, picture(name, forget))
    return "".join([sections[0], *named.values()]) + "\n"


def replaced(section: str, sweep: Sweep, image: Path) -> str:
    """Return a forget set's section with the rows of a sweep's methods, and draw its picture."""
    rows = {read(row).method: row for row in re.findall(r"^\| `.*", section, re.MULTILINE)}
    lines = {method: read(row) for method, row in rows.items()}
    floor = float(re.findall(r"Noise floor: ([\d.]+|unknown);", section)[0].replace("unknown", "nan"))
    timed = any(not math.isnan(line.cost.mean) for line in lines.values())
    texts = dict(rows)
    for line in sweep.lines():
        if line.method not in FIRST:
            lines[line.method] = line if timed else replace(line, cost=Number(math.nan))
            texts[line.method] = row_of(lines[line.method], floor)
    if again := [method for method in texts if method not in rows and f"`{method}` " in section]:
        raise SystemExit(f"{', '.join(again)}: the section says why there are no numbers; make the part anew")
    drawn(list(lines.values()), floor, image)
    return section.replace("\n".join(rows.values()), "\n".join(texts[line.method] for line in ordered(lines.values())))


Make = Callable[[str, Path, str], str]
"""Makes a part of a page from its name, a report, and what it was before."""


def remake(page: Path, known: Sequence[str], makes: Mapping[str, Make], usage: str) -> None:
    """Make the parts of a page whose reports are given on the command line, as NAME=REPORT, or with another sign."""
    signs = "|".join(map(re.escape, sorted(makes, key=len, reverse=True)))
    given = [re.fullmatch(rf"(\w+)({signs})(.+)", word) for word in sys.argv[1:]]
    if not given or any(one is None or one[1] not in known for one in given):
        raise SystemExit(f"{usage}\nThe parts are: {', '.join(known)}.")
    text = page.read_text()
    for name, sign, report in (one.groups() for one in given if one is not None):
        found = re.search(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", text, re.DOTALL)
        if found is None:
            raise SystemExit(f"the page has no part {name}: add <!-- {name} --> and <!-- end of {name} -->")
        content = makes[sign](name, Path(report), found[0])
        text = f"{text[: found.start()]}\n{content}\n{text[found.end() :]}"
    page.write_text(text)


if __name__ == "__main__":
    remake(PAGE, list(PRESETS), {"=": part, "+=": renewed}, str(__doc__))
