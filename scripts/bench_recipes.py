#!/usr/bin/env python3
"""Time to accuracy of two training recipes of ResNet18 at 32x32, one after the other.

    python scripts/bench_recipes.py --root FOLDER [--images 5000] [--recipes standard,fast] [--target .5] [KEY=VALUE]

FOLDER holds cifar-10-batches-py. Accuracy is on the validation part, which no step sees; the scoring that it takes is
counted too. KEY=VALUE are overrides of the run, such as train.epochs=10 or train.compile=true; a compiled model's first
epoch holds the translation, which `first epoch` shows apart from the others.
"""

import argparse
import time
from pathlib import Path

from unlearnbench.assemble import assemble
from unlearnbench.machine.bars import Quiet
from unlearnbench.randomness import seeded
from unlearnbench.runs.launch import prepare
from unlearnbench.tasks import bind
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper


def trained(words: list[str]) -> list[tuple[float, float]]:
    """Train a recipe to its end; return seconds since the start and validation accuracy after each epoch."""
    experiment = assemble(prepare(words)).experiment
    data = experiment.dataset.load()
    task = bind(data, data.train, experiment.dataset, experiment.precision, experiment.model, 500, 0)
    points: list[tuple[float, float]] = []
    start = time.perf_counter()

    def note(_stepper: Stepper, record: Record, _epoch: int) -> None:
        points.append((time.perf_counter() - start, record.curve[-1]["validation_accuracy"]))

    with seeded(experiment.seed):
        model = task.prepare(experiment.model.build(data.info))
    settings = {"seed": experiment.seed, "record": Record(), "progress": Quiet(), "save": note}
    fit(model, task, data.train, data.validation, experiment.recipe, **settings)  # type: ignore[arg-type]
    return points


def main() -> None:
    """Train each recipe and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--recipes", default="standard,fast")
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    print(f"| train= | first epoch, s | an epoch after it, s | epochs to {given.target} | seconds to it | at the end |")
    print("|---|---|---|---|---|---|", flush=True)
    for recipe in given.recipes.split(","):
        words = ["dataset=cifar10", "model=resnet18", f"dataset.root={given.root}", f"dataset.limit={given.images}"]
        points = trained([*words, f"train={recipe}", *given.overrides])
        first = points[0][0]
        each = (points[-1][0] - first) / max(len(points) - 1, 1)
        reached = next((number for number, (_, accuracy) in enumerate(points) if accuracy >= given.target), None)
        to = f"{reached + 1} | {points[reached][0]:.0f}" if reached is not None else "never | "
        curve = " ".join(f"{accuracy:.3f}" for _, accuracy in points)
        print(f"| {recipe} | {first:.1f} | {each:.1f} | {to} | {points[-1][1]:.3f} ({curve}) |", flush=True)


if __name__ == "__main__":
    main()
