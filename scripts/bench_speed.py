#!/usr/bin/env python3
"""How fast the training stage and scoring are, against a plain script and against the bare step, in one run.

    python scripts/bench_speed.py --root FOLDER [--images 2560] [--rounds 3]

FOLDER holds cifar-10-batches-py. ResNet18 with the small stem at 32x32, batch 128, SGD, crop and flip. Three ways take
turns, so that a drift of the machine meets all of them; figures are medians over the rounds, in images per second:

    plain   the same model in a plain script: torchvision's CIFAR10, PIL transforms, DataLoader, fp32
    bare    the step alone, on one tensor that is in memory already, in the format that precision=auto takes
    ours    the training stage as `unlearnbench run` has it: shuffling, augmentation, the stepper and its checks
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import CIFAR10

from unlearnbench.assemble import assemble
from unlearnbench.contracts import Batch
from unlearnbench.machine.bars import Quiet
from unlearnbench.request.compose import compose
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record

SIZE = 128


class Ways:
    """The three ways, over the same images and the same model definition."""

    def __init__(self, root: Path, images: int) -> None:
        words = [f"dataset.root={root}", f"dataset.limit={images}", "dataset.validation=0.001", "train.epochs=1"]
        words += ["device=cpu"]  # the plain script has no other
        self.experiment = assemble(compose(["dataset=cifar10", *words]).request).experiment
        experiment = self.experiment
        self.data = experiment.dataset.load()
        self.task = ImageTask(self.data, experiment.dataset, experiment.precision, "fc", SIZE)  # type: ignore[arg-type]
        mean, std = experiment.dataset.mean, experiment.dataset.std  # type: ignore[attr-defined]
        end = [transforms.ToTensor(), transforms.Normalize(mean, std)]
        moved = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        count = range(len(self.data.train))
        self.train = Subset(CIFAR10(str(root), train=True, transform=transforms.Compose([*moved, *end])), count)
        self.test = Subset(CIFAR10(str(root), train=True, transform=transforms.Compose(end)), count)

    def model(self) -> nn.Module:
        """Return a new model."""
        return self.experiment.model.build(self.data.info)

    def plain_training(self) -> int:
        """One epoch as most scripts have it."""
        model = self.model().train()
        optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
        for images, labels in DataLoader(self.train, SIZE, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        return len(self.train)

    def plain_scoring(self) -> int:
        """One evaluation as most scripts have it."""
        model = self.model().eval()
        with torch.no_grad():
            torch.cat([model(images) for images, _ in DataLoader(self.test, SIZE, num_workers=2)])
        return len(self.test)

    def bare_training(self) -> int:
        """As many steps on one batch that is ready in memory."""
        model, batch = self.task.prepare(self.model()).train(), self.ready()
        optimizer = torch.optim.SGD(
            model.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )
        steps = len(self.data.train) // SIZE
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(self.task.predict(model, batch).logits, batch.labels).backward()
            optimizer.step()
        return steps * SIZE

    def bare_scoring(self) -> int:
        """As many forward passes on one batch that is ready in memory."""
        model, batch = self.task.prepare(self.model()).eval(), self.ready()
        steps = len(self.data.train) // SIZE
        with torch.inference_mode():
            for _ in range(steps):
                self.task.predict(model, batch)
        return steps * SIZE

    def our_training(self) -> int:
        """The training stage, one epoch."""
        nothing = np.array([], dtype=np.int64)
        model = self.task.prepare(self.model())
        recipe = self.experiment.recipe
        fit(model, self.task, self.data.train, nothing, recipe, seed=0, record=Record(), progress=Quiet())
        return len(self.data.train)

    def our_scoring(self) -> int:
        """Scoring, once over the same images."""
        self.task.score(self.task.prepare(self.model()), self.data.train)
        return len(self.data.train)

    def ready(self) -> Batch:
        """Return one prepared batch."""
        return self.task.batch(self.data.train[:SIZE], None)


def rate(work: Callable[[], int]) -> float:
    """Return images per second."""
    started = time.perf_counter()
    images = work()
    return images / (time.perf_counter() - started)


def main() -> None:
    """Take turns, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ways = Ways(given.root, given.images)
    print("| | plain | bare | ours | ours / plain | ours / bare |\n|---|---|---|---|---|---|")
    for what in ("training", "scoring"):
        works = [getattr(ways, f"{way}_{what}") for way in ("plain", "bare", "our")]
        rates = [[rate(work) for work in works] for _ in range(given.rounds + 1)][1:]
        plain, bare, ours = (statistics.median(column) for column in zip(*rates, strict=True))
        over_plain = statistics.median(row[2] / row[0] for row in rates)
        over_bare = statistics.median(row[2] / row[1] for row in rates)
        print(f"| {what} | {plain:.0f} | {bare:.0f} | {ours:.0f} | {over_plain:.2f} | {over_bare:.2f} |", flush=True)
    print(
        f"\n{torch.__version__}, {torch.get_num_threads()} threads, {ways.experiment.precision}, {given.rounds} rounds"
    )


if __name__ == "__main__":
    main()
