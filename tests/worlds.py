"""Small worlds that tests share: settings, a generated data set, and what it means that two models are the same."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import torch

from unlearnbench.contracts import Data, DataInfo, Dataset, ModelSpec
from unlearnbench.data.clinical_notes import ClinicalNotes
from unlearnbench.data.images import Augment
from unlearnbench.data.synthetic import Synthetic
from unlearnbench.forget.column import Column
from unlearnbench.forget.splits import ForgetSet
from unlearnbench.machine.bars import Quiet
from unlearnbench.machine.precision import Precision
from unlearnbench.models.adapter import Adapter
from unlearnbench.models.llama import LlamaTiny, Pretrained
from unlearnbench.models.timm_model import TimmModel
from unlearnbench.randomness import seeded
from unlearnbench.stages.bench import Bench
from unlearnbench.stages.train import Train
from unlearnbench.stages.world import World
from unlearnbench.tasks import bind
from unlearnbench.tasks.text import TextTask
from unlearnbench.training.fit import fit
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record

CPU = Precision("cpu", bf16=False)
TINY = ("dataset=synthetic", "model=tiny_cnn", "train.epochs=2", "plots=false")
"""A run of a second, on generated images; tests of figures add plots=true."""
HERE = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
"""The environment of a command that must import this checkout."""
RECIPE = Recipe(
    epochs=8,
    batch_size=32,
    label_smoothing=0.0,
    optimizer=Optimizer(name="sgd", lr=0.1, momentum=0.9, nesterov=True, schedule="one_cycle"),
)
SGD = Optimizer(name="sgd", lr=0.01, momentum=0.9)


def synthetic(**changes: object) -> Synthetic:
    values: dict[str, object] = {
        "classes": 4, "train": 240, "test": 80, "side": 8, "channels": 1, "noise": 40.0, "limit": None,
        "limit_test": None, "validation": 0.1, "labels": "fine", "size": None, "mean": (0.5,), "std": (0.25,),
        "augment": Augment(crop=0, flip=False), "seed": 0,
    }  # fmt: skip
    return Synthetic(**{**values, **changes})


def image_info(side: int = 32, channels: int = 3, classes: int = 10) -> DataInfo:
    """What is known of images of this shape."""
    names = tuple(f"c{number}" for number in range(classes))
    return DataInfo(kind="image", classes=names, train=100, test=50, shape=(channels, side, side))


def timm_model(architecture: str, **changes: object) -> TimmModel:
    """One of timm's models, with random weights."""
    return TimmModel(
        **{
            "architecture": architecture,
            "dropout": 0.0,
            "pretrained": False,
            "checkpoint": None,
            "base": None,
            **changes,
        }
    )


NO_ADAPTER = Adapter(r=0, alpha=8, dropout=0.0, targets=("q_proj", "v_proj"))
LORA = Adapter(r=4, alpha=8, dropout=0.0, targets=("q_proj", "v_proj"))
ADAMW = Optimizer(name="adamw", lr=1e-2, clip_norm=1.0)
TEXT_RECIPE = Recipe(epochs=2, batch_size=16, label_smoothing=0.0, optimizer=ADAMW)


def notes(**changes: object) -> ClinicalNotes:
    """A part of the embedded notes."""
    values: dict[str, object] = {
        "limit": 120, "limit_test": 48, "limit_validation": 20, "context": 512, "too_long": "cut", "seed": 0,
        "axes": None, "legitimate": True,
    }  # fmt: skip
    return ClinicalNotes(**{**values, **changes})


def llama(adapter: Adapter = NO_ADAPTER) -> LlamaTiny:
    """A LLaMA of a few thousand parameters."""
    return LlamaTiny(hidden=16, layers=2, heads=2, vocabulary=600, context=512, adapter=adapter)


def pretrained_at(path: Path, **changes: object) -> Pretrained:
    """Return the model in a folder, trained whole."""
    values = {
        "path": path, "hub": None, "revision": None, "package": None, "checkpoint": None,
        "base": "clean", "adapter": NO_ADAPTER, "load_in_4bit": False, "gradient_checkpointing": False,
    }  # fmt: skip
    return Pretrained(**{**values, **changes})


def text_task(spec: LlamaTiny | None = None, score_batch: int = 50, generate: int = 0, **changes: object) -> TextTask:
    """A text task over a part of the notes, with its own tokenizer."""
    dataset = notes(**changes)
    data = dataset.load()
    task = bind(data, data.train, dataset, CPU, spec or llama(), score_batch, generate)
    assert isinstance(task, TextTask)
    return task


def text_world(**changes: object) -> SimpleNamespace:
    """Return what `tiny_text` is; settings of the notes can be replaced."""
    task, spec = text_task(**changes), llama()
    splits = Column(column="is_biased", value=True, fraction=1.0, seed=0).split(task.data)
    with seeded("tiny text"):
        model = fit(
            task.prepare(spec.build(task.data.info)), task, task.data.train, task.data.validation, TEXT_RECIPE,
            seed=0, record=Record(), progress=Quiet(),
        )  # fmt: skip
    return SimpleNamespace(data=task.data, task=task, splits=splits, spec=spec, original=model)


def world(
    dataset: Dataset, data: Data, spec: ModelSpec, forget: ForgetSet, batch: int = 50, generate: int = 4
) -> World:
    """Return the world of a forget set over loaded data, with seed 0."""
    splits = forget.split(data)
    task = bind(data, splits.retain, dataset, CPU, spec, 50, generate)
    bench = Bench(data, task, spec, CPU, True, limit=None, batch=50, generate=generate)
    return World(bench, splits, seed=0, unlearn_seed=0, eval_seed=0)


def trained(world: World, role: str, recipe: Recipe) -> Train:
    """Return the training of the original, or of retrained_0, in a world."""
    splits = world.splits
    if role == "original":
        return Train(world.bench, role, world.all, splits.validation, recipe, (0, role))
    return Train(world.bench, "retrained_0", splits.retain, splits.steering, recipe, (0, "retrained", 0))


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    """Return whether two models hold equal parameters and buffers."""
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_near(model: torch.nn.Module, expected: torch.nn.Module) -> None:
    """Check that a model's parameters and buffers are those of another, which a test may have moved in float64."""
    found, wanted = model.state_dict(), expected.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        difference = (value - wanted[name]).abs()
        assert (difference <= 2e-6 + 1e-4 * wanted[name].abs()).all(), f"{name}: off by {float(difference.max())}"
