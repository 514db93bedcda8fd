"""The figures of a run: confusion, accuracy by class, membership, training curves, what a method tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from unlearnbench.evidence import BySplit, Floats
from unlearnbench.metrics.classification import confusion_matrix
from unlearnbench.plots.figures import PALETTE, ROLE_COLOURS, figure, plain_text, save, short, tidy

NAMED_CLASSES = 20
"""Up to this many classes their names and the cells' numbers are legible."""
CHOSEN = "chosen"
"""The column of a method's table that makes a figure of it: 1 in the row of the setting that was chosen, else 0."""
TICKS = 4
"""The most labels on the axis of losses: more would overlap."""
UNSEEN = {"test_forget": "unseen, of the same kind", "test": "unseen"}
"""What the membership figure compares the forget set with."""


@plain_text()
def draw(
    folder: Path,
    original: BySplit,
    retrained: tuple[BySplit, ...],
    unlearned: BySplit,
    classes: tuple[str, ...],
    curves: Mapping[str, list[dict[str, float]]],
) -> None:
    """Write plots/*.png into a run folder, showing the first of the retrained models, if any."""
    classes = tuple(map(short, classes))
    roles = {"original": original, **({"retrained": retrained[0]} if retrained else {}), "unlearned": unlearned}
    if len(classes) > 1:
        _confusion(folder / "plots" / "confusion.png", roles, classes)
        _accuracy_by_class(folder / "plots" / "accuracy_by_class.png", roles, classes)
    _membership(folder / "plots" / "membership.png", roles)
    name = "Accuracy" if len(classes) > 1 else "Exact memorisation"
    _training_curves(folder / "plots" / "training_curves.png", curves, name)


@plain_text()
def tried(folder: Path, tables: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Write plots/tried_<table>.png for each table in which a method tells what it tried and what it chose.

    The first column is drawn along the x axis, the others as lines; the rows of the chosen setting are marked.
    """
    for table, rows in tables.items():
        columns = list(rows[0]) if rows else []
        if CHOSEN not in columns or len(columns) < 3 or any(list(row) != columns for row in rows):
            continue
        x, *names = (name for name in columns if name != CHOSEN)
        drawn = figure(6.4, 4.0)
        axes = drawn.subplots()
        curve, chosen = sorted(rows, key=lambda row: row[x]), [row for row in rows if row[CHOSEN]]
        for name, colour in zip(names, cycle(PALETTE), strict=False):
            label = name.replace("_", " ")
            axes.plot([row[x] for row in curve], [row[name] for row in curve], marker=".", color=colour, label=label)
            axes.plot([row[x] for row in chosen], [row[name] for row in chosen], "o", color=colour, markersize=9)
        for row in chosen:
            axes.axvline(row[x], color="grey", linewidth=1, linestyle=":", label=f"chosen: {row[x]:.3g}")
        if all("accuracy" in name for name in names):
            axes.set_ylim(-0.02, 1.02)
        axes.legend(frameon=False)
        tidy(axes, f"What the method tried ({table})", x=x.replace("_", " "))
        save(drawn, path=folder / "plots" / f"tried_{table}.png")


def _confusion(path: Path, roles: Mapping[str, BySplit], classes: tuple[str, ...]) -> None:
    side = 4.4 if len(classes) <= NAMED_CLASSES else 5.5
    drawn = figure(len(roles) * side, side + 0.4)
    every = drawn.subplots(1, len(roles), sharey=True)
    forgotten = _forgotten(roles["original"], len(classes))
    for axes, (role, by_split) in zip(every, roles.items(), strict=True):
        matrix = confusion_matrix(by_split["test"], len(classes))
        image = axes.imshow(matrix, vmin=0, vmax=1, cmap="Blues")
        accuracy = (by_split["test"].prediction == by_split["test"].label).mean()
        axes.set_title(f"{role}: test accuracy {accuracy:.3f}", fontsize=11, loc="left")
        axes.set_xlabel("predicted")
        if len(classes) <= NAMED_CLASSES:
            axes.set_xticks(range(len(classes)), classes, rotation=90)
            axes.set_yticks(range(len(classes)), classes)
            for labels in (axes.get_xticklabels(), axes.get_yticklabels()):  # only the first of them has both
                for number in forgotten if labels else ():
                    labels[number].set(color=ROLE_COLOURS["unlearned"], fontweight="bold")
            for (row, column), value in np.ndenumerate(matrix):
                if value >= 0.005:
                    colour = "white" if value > 0.5 else "black"
                    axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=colour)
    marked = "; bold: with forgotten examples" if forgotten and len(classes) <= NAMED_CLASSES else ""
    every[0].set_ylabel(f"true class (rows sum to 1{marked})")
    drawn.colorbar(image, ax=every, shrink=0.8, label="share of the true class")
    save(drawn, path)


def _forgotten(by_split: BySplit, classes: int) -> tuple[int, ...]:
    """Return the classes of the forget set.

    () if it contains all classes, because it is not chosen by class.
    """
    found = np.unique(by_split["test_forget"].label) if "test_forget" in by_split else np.arange(0)
    return tuple(map(int, found)) if len(found) < classes else ()


def _accuracy_by_class(path: Path, roles: Mapping[str, BySplit], classes: tuple[str, ...]) -> None:
    test, forgotten = roles["original"]["test"], _forgotten(roles["original"], len(classes))
    parts = bool(forgotten) and len(roles["original"]["test_forget"]) < np.isin(test.label, forgotten).sum()
    names = (*classes, "forgotten part") if parts else classes  # a subclass is only part of its class
    drawn = figure(max(8.0, min(0.75 * len(names) + 2, 22)), 3.8)
    axes = drawn.subplots()
    places = np.arange(len(names))
    for number, (role, by_split) in enumerate(roles.items()):
        rates = list(np.diag(confusion_matrix(by_split["test"], len(classes))))
        if parts:
            rates.append(float((by_split["test_forget"].prediction == by_split["test_forget"].label).mean()))
        axes.bar(places + (number - (len(roles) - 1) / 2) * 0.27, rates, 0.27, label=role, color=ROLE_COLOURS[role])
    turned = 90 if len(classes) > NAMED_CLASSES else 30
    axes.set_xticks(places, names, rotation=turned, rotation_mode="anchor", ha="right", va="center")
    axes.set_ylim(0, 1.02)
    axes.margins(x=0.01)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    tidy(axes, "Test accuracy by class", y="accuracy")
    save(drawn, path)


def _membership(path: Path, roles: Mapping[str, BySplit]) -> None:
    drawn = figure(13, 3.6)
    every = drawn.subplots(1, len(roles), sharey=True)
    splits = ("forget", "test_forget") if "test_forget" in roles["original"] else ("forget", "test")
    low, high = _log_range([by_split[split].loss for by_split in roles.values() for split in splits])
    bins = np.logspace(low, high, 40)
    for axes, (role, by_split) in zip(every, roles.items(), strict=True):
        for split, colour in zip(splits, PALETTE, strict=False):
            loss = by_split[split].loss.clip(bins[0], bins[-1])
            weights = np.full(len(loss), 1 / len(loss))
            axes.hist(
                loss,
                bins,
                weights=weights,
                histtype="stepfilled",
                alpha=0.55,
                color=colour,
                label=UNSEEN.get(split, split),
            )
        axes.set_xscale("log")
        axes.set_xticks(_decades(low, high))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        tidy(axes, role, x="loss of an example, nats", y="share of examples" if role == "original" else "")
    every[0].legend(frameon=False)
    drawn.suptitle("Are forget examples told from unseen ones of the same kind by their loss?", fontsize=12)
    save(drawn, path)


def _log_range(losses: Sequence[Floats]) -> tuple[float, float]:
    together = np.concatenate(list(losses)).clip(1e-4, 1e2)
    low, high = np.log10(np.quantile(together, [0.005, 0.995]))
    return float(low) - 0.1, float(max(high, low + 0.5)) + 0.1


def _decades(low: float, high: float) -> list[float]:
    """Return at most TICKS powers of ten within a range of exponents; in a short range also some between them."""
    exponents = range(int(np.ceil(low)), int(np.floor(high)) + 1)
    if len(exponents) > 2:
        return [10.0**one for one in exponents[:: -(-len(exponents) // TICKS)]]
    factors = (1, 3) if len(exponents) == 2 else (1, 2, 5)
    finer = [factor * 10.0**one for one in range(int(np.floor(low)), int(np.ceil(high))) for factor in factors]
    return [value for value in finer if low <= np.log10(value) <= high]


def _training_curves(path: Path, curves: Mapping[str, list[dict[str, float]]], name: str) -> None:
    """Draw each stage's loss and, where there is validation data, the accuracy on it."""
    validated = any("validation_accuracy" in row for curve in curves.values() for row in curve)
    drawn = figure(11 if validated else 5.6, 3.6)
    loss, *others = drawn.subplots(1, 2 if validated else 1, squeeze=False).flatten()
    for number, (stage, curve) in enumerate(curves.items()):
        colour = ROLE_COLOURS.get(stage.partition("_")[0], PALETTE[number % len(PALETTE)])
        line = "-" if stage.partition("_")[2] in ("", "0") else ":"
        epochs = [row["epoch"] for row in curve]
        loss.plot(epochs, [row["loss"] for row in curve], line, marker=".", color=colour, label=stage)
        known = [(row["epoch"], row["validation_accuracy"]) for row in curve if "validation_accuracy" in row]
        if known:
            others[0].plot(*zip(*known, strict=True), line, marker=".", color=colour, label=stage)
    for axes in (loss, *others):
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if axes.lines and all(len(line.get_xdata()) == 1 for line in axes.lines):
            axes.set_xticks([axes.lines[0].get_xdata()[0]])
    if loss.lines:
        loss.legend(frameon=False)
    tidy(loss, "What each stage minimises (not the same loss)", x="epoch", y="mean over the epoch")
    for axes in others:
        tidy(axes, f"{name} on validation data", x="epoch", y=name.lower())
    save(drawn, path)
