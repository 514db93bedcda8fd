"""One of each as a plugin: a method, metric, evaluation, model, data set and forget set, and no other file changes."""

from __future__ import annotations

import csv

import pandas
import pytest

FILES = {
    "mine.py": '''
"""Six extensions of somebody else."""
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import numpy as np
from torch import nn
from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.data.images import ImageSettings, image_data
from unlearnbench.evaluations.evaluation import Column, Row
from unlearnbench.forget.splits import Splits
from unlearnbench.metrics import metric
from unlearnbench.stages.score import Score
from unlearnbench.stages.train import Train


@dataclass(frozen=True, kw_only=True)
class Halve:
    """Halve the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})

    def __call__(self, model, problem):
        model.get_submodule(problem.parts.head).weight.data.mul_(0.5)
        return model


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier."""
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    checkpoint: Path | None = None

    def build(self, info):
        pixels = info.shape[0] * info.shape[1] * info.shape[2]
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, len(info.classes)))

    def parts(self):
        return Parts(head="1", blocks=("1",), mask_layer="1")


@dataclass(frozen=True, kw_only=True)
class Stripes(ImageSettings):
    """Images with one bright row, whose place is the class."""

    def info(self):
        train, test = self.counted(60, 30)
        return DataInfo(kind="image", classes=("top", "middle", "bottom"), train=train, test=test,
                        shape=self.shaped(1, 6), held_out=self.held_out(train))

    def check(self):
        pass

    def load(self):
        def made(count):
            labels = np.arange(count, dtype=np.int64) % 3
            images = np.random.default_rng(count).integers(0, 60, (count, 1, 6, 6), dtype=np.uint8)
            images[np.arange(count), 0, 2 * labels] = 250
            return images, labels
        return image_data(self, self.info(), made(60), made(30))


@dataclass(frozen=True, kw_only=True)
class First:
    """The first rows of the training data."""
    count: int
    whole_class = False

    def label(self, info):
        return f"first:{self.count}"

    def split(self, data):
        return Splits(data.train[self.count:], data.train[:self.count], data.validation, data.test)


@metric("spread", splits=("forget", "test"), unit="score", low=0.0, high=1e9, source="mine")
def spread(evidence, split):
    """Standard deviation of the logits."""
    return float(evidence.subject[split].logits.std())


@dataclass(frozen=True, kw_only=True)
class Again:
    """Train the original once more with another seed, and compare the two."""
    headline: ClassVar[tuple[Column, ...]] = (Column("agreement", "test"),)

    def stages(self, models, world):
        names = (world.seed, "mine", "again")
        other = Train(world.bench, "again", world.all, world.splits.validation, models.original.recipe, names)
        return {"again": Score(world.bench, other, "test", world.splits.test)}

    def measure(self, found):
        same = found.read("again").prediction == found.scores["unlearned"]["test"].prediction
        yield Row("unlearned", "test", "agreement", float(same.mean()))
''',
    "conf/method/halve.yaml": "_target_: mine.Halve\n",
    "conf/model/linear.yaml": "_target_: mine.Linear\ncheckpoint: null\n",
    "conf/forget/first.yaml": "_target_: mine.First\ncount: 10\n",
    "conf/eval/again.yaml": "# @package eval.again\n_target_: mine.Again\n",
    "conf/dataset/stripes.yaml": """\
_target_: mine.Stripes
limit: null
limit_test: null
validation: 0.1
size: null
mean: [0.5]
std: [0.25]
augment:
  {crop: 0, flip: false, rotate: 0.0, jitter: 0.0, sharpen: 0.0, sharpness: 2.0, erase: 0.0, erase_area: [0.02, 0.33],
   erase_value: 0.0}
seed: 0
""",
}
WORDS = [
    *("dataset=stripes", "model=linear", "forget=first", "method=halve", "eval=[standard,again]", "train.epochs=2"),
    *("--config-dir", "conf", "--plugin", "mine.py"),
]


@pytest.mark.slow
def test_one_of_each_comes_from_a_plugin(command, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = command("run", *WORDS)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "runs").iterdir()
    assert folder.name.startswith("halve_linear_stripes_")
    rows = pandas.read_csv(folder / "metrics.csv")
    assert set(rows["forget"]) == {"first:10"}
    assert {"spread", "gap_spread", "agreement"} <= set(rows["metric"])
    sweep = command("run", "-m", *WORDS, "method=halve,none")
    assert sweep.returncode == 0, sweep.stderr
    assert "\nagain" in sweep.stdout and "agreement" in sweep.stdout
    with next((tmp_path / "outputs" / "sweeps").glob("*/jobs.csv")).open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "done"]
    listed = command("list", "--config-dir", "conf", "--plugin", "mine.py")
    for about in ("Halve the head's weights", "A linear classifier", "Images with one bright row", "The first rows"):
        assert about in listed.stdout
