#!/usr/bin/env python3
"""Run the authors' own code of five methods beside ours: same original, same data, same batch sizes, same steps.

    python scripts/compare_authors.py --code FOLDER [--methods distill ssd scrub salun npo] [--rounds 3] [WORD ...]

FOLDER holds clones of bad-teaching-unlearning, selective-synaptic-dampening, SCRUB, Unlearn-Saliency and
open-unlearning, whose functions are imported and run here: look at them first. Images are `fashion` without
augmentation on `tiny_resnet`, text is `clinical_notes` on `llama_tiny`, on the CPU in float32. WORDs are further
configuration, such as forget=random.

In each round both train from the same original with a seed of their own, in turn. For each method it prints accuracy on
retain, forget and test as mean ± standard deviation over the rounds, the difference of the means, the noise floor (two
retrained models' mean difference) and the ratio of the median seconds.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from unlearnbench.assemble import assemble
from unlearnbench.contracts import Index
from unlearnbench.experiment import Experiment
from unlearnbench.forget.splits import Splits
from unlearnbench.machine.bars import Quiet
from unlearnbench.problem import Problem
from unlearnbench.randomness import seeded
from unlearnbench.request.compose import compose
from unlearnbench.stages.benches import Benches
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record

IMAGES = ["dataset=fashion", "model=tiny_resnet", "dataset.augment.flip=false"]
TEXT = ["dataset=clinical_notes", "model=llama_tiny"]
PARTS = ("retain", "forget", "test")


class World:
    """One experiment, its data, and an original and two retrained models."""

    def __init__(self, words: Sequence[str]) -> None:
        words = [*words, "device=cpu", "precision=fp32", "eval.generate=0"]
        self.experiment: Experiment = assemble(compose(words).request).experiment
        self.bench = Benches().of(self.experiment)
        self.splits: Splits = self.experiment.forget.split(self.bench.data)
        with seeded("original"):
            self.original = self.trained(self.splits.trained, 0)
        with seeded("retrained"):
            first, second = (self.accuracy(self.trained(self.splits.retain, seed)) for seed in (1, 2))
        self.floor = float(np.mean(np.abs(first - second)))

    def trained(self, index: Index, seed: int) -> nn.Module:
        """Train a model from its start."""
        task, experiment = self.bench.task, self.experiment
        model = task.prepare(experiment.model.build(self.bench.info))
        return fit(
            model, task, index, self.splits.validation, experiment.recipe, seed=seed, record=Record(), progress=Quiet()
        )

    def accuracy(self, model: nn.Module) -> Any:
        """Return the accuracy on retain, forget and test, (3,)."""
        scores = [self.bench.task.score(model, getattr(self.splits, part)) for part in PARTS]
        return np.array([float((one.prediction == one.label).mean()) for one in scores])

    def problem(self, seed: int) -> Problem:
        """Return what our method sees."""
        return Problem(
            task=self.bench.task, info=self.bench.info, retain=self.splits.retain, forget=self.splits.forget,
            validation=self.splits.steering, reference=copy.deepcopy(self.original).requires_grad_(False),
            spec=self.experiment.model, recipe=self.experiment.recipe, seed=seed, record=Record(), progress=Quiet(),
            twins=self.bench.data.corrected,
        )  # fmt: skip

    def tensors(self, part: str) -> TensorDataset:
        """Return a split's images, normalised, with their labels."""
        batch = self.bench.task.batch(getattr(self.splits, part), None)
        return TensorDataset(batch.inputs, batch.labels)


class StandIn(ModuleType):
    """A module that is left out: whatever is imported from it is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def imported(folder: Path, module: str, without: Sequence[str] = ()) -> ModuleType:
    """Import a module of somebody's repository without its packages' own __init__, which import far more.

    `without` names modules that it imports, and that what we call does not use.
    """
    known = set(sys.modules)
    sys.modules.update({name: StandIn(name) for name in without})
    *packages, _ = module.split(".")
    for depth in range(1, len(packages) + 1):
        package = ModuleType(".".join(packages[:depth]))
        package.__path__ = [str(folder.joinpath(*packages[:depth]))]
        sys.modules[package.__name__] = package
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        for name in without:
            del sys.modules[name]
        for name in set(sys.modules) - known:  # `utils` is a name that several of them use
            place = [*getattr(sys.modules[name], "__path__", []), getattr(sys.modules[name], "__file__", None) or ""]
            if any(str(one).startswith(str(folder)) for one in place):
                del sys.modules[name]


def distill(world: World, method: Any, model: nn.Module, seed: int, code: Path) -> nn.Module:
    """Competent and incompetent teachers, by blindspot_unlearner; in their notebook the student is in training mode."""
    theirs = imported(code / "bad-teaching-unlearning", "unlearn")
    problem = world.problem(seed)
    share = problem.sample(problem.retain, method.retain_share)
    batch = world.bench.task.batch(share, None)
    theirs.blindspot_unlearner(
        model.train(), problem.random(), copy.deepcopy(world.original), TensorDataset(batch.inputs, batch.labels),
        world.tensors("forget"), epochs=method.epochs, lr=method.optimizer.lr, batch_size=method.batch_size,
        num_workers=0, device="cpu", KL_temperature=method.temperature,
    )  # fmt: skip
    return model


def ssd(world: World, method: Any, model: nn.Module, seed: int, code: Path) -> nn.Module:
    """Selective synaptic dampening, by ParameterPerturber: importances over forget and over all, then one update."""
    theirs = imported(code / "selective-synaptic-dampening" / "src", "ssd", without=["wandb", "seaborn"])
    settings = {"lower_bound": 1, "exponent": 1, "magnitude_diff": None, "min_layer": -1, "max_layer": -1}
    settings |= {"forget_threshold": 1, "dampening_constant": method.dampening, "selection_weighting": method.alpha}
    perturber = theirs.ParameterPerturber(model.eval(), torch.optim.SGD(model.parameters(), lr=0.1), "cpu", settings)
    parts = [world.bench.task.batch(index, None) for index in (world.splits.retain, world.splits.forget)]
    retain, forget = (TensorDataset(one.inputs, one.labels, one.labels) for one in parts)
    every = DataLoader(ConcatDataset([retain, forget]), method.batch_size)  # in this order, as in their scripts
    goes = perturber.calc_importance(DataLoader(forget, method.batch_size))
    perturber.modify_weight(perturber.calc_importance(every), goes)
    return model


def scrub(world: World, method: Any, model: nn.Module, seed: int, code: Path) -> nn.Module:
    """SCRUB, by train_distill: a pass up on forget while msteps last, and one down on retain, in each epoch."""
    theirs = imported(code / "SCRUB" / "thirdparty" / "repdistiller", "helper.loops")
    zoo = imported(code / "SCRUB" / "thirdparty" / "repdistiller", "distiller_zoo.KD")
    settings = SimpleNamespace(distill="kd", print_freq=10**9, gamma=method.gamma, alpha=method.alpha, beta=0)
    teacher = copy.deepcopy(world.original)
    lists = nn.ModuleList([model, teacher])
    losses = nn.ModuleList(
        [nn.CrossEntropyLoss(), zoo.DistillKL(method.temperature), zoo.DistillKL(method.temperature)]
    )
    moving = method.optimizer
    optimizer = torch.optim.SGD(model.parameters(), moving.lr, moving.momentum, weight_decay=moving.weight_decay)
    retain = DataLoader(world.tensors("retain"), method.batch_size, shuffle=True)
    forget = DataLoader(world.tensors("forget"), method.forget_batch_size, shuffle=True)
    for epoch in range(1, method.epochs + 1):
        for loader, split in ((forget, "maximize"),) * (epoch <= method.msteps) + ((retain, "minimize"),):
            theirs.train_distill(epoch, loader, lists, None, losses, optimizer, settings, split, quiet=True)
    return model


UNUSED = ("datasets", "datasets.load", "lmdb")
"""What SalUn's code imports for other data sets."""


def salun(world: World, method: Any, model: nn.Module, seed: int, code: Path) -> nn.Module:
    """SalUn: save_gradient_ratio for the mask, and RL with it."""
    folder = code / "Unlearn-Saliency" / "Classification"
    masks, loop = (
        imported(folder, "generate_mask", without=["unlearn", *UNUSED]),
        imported(folder, "unlearn.RL", without=["pruner", *UNUSED]).RL,
    )
    loaders = {name: DataLoader(world.tensors(name), method.batch_size, shuffle=True) for name in ("forget", "retain")}
    moving = method.optimizer
    with tempfile.TemporaryDirectory() as place, without_cuda():
        settings = SimpleNamespace(
            dataset="cifar10", num_classes=len(world.bench.info.classes), warmup=0, print_freq=10**9, save_dir=place,
            unlearn_lr=moving.lr, momentum=moving.momentum, weight_decay=moving.weight_decay, decreasing_lr="91,136",
            rewind_epoch=0, imagenet_arch=False, unlearn="RL", unlearn_epochs=method.epochs,
        )  # fmt: skip
        masks.save_gradient_ratio(loaders, model, nn.CrossEntropyLoss(), settings)
        mask = torch.load(Path(place) / f"with_{method.share}.pt", weights_only=True)
        loop(loaders, model, nn.CrossEntropyLoss(), settings, mask)
    return model


@contextmanager
def without_cuda() -> Iterator[None]:
    """Let `.cuda()` do nothing inside the block."""
    before = torch.Tensor.cuda, nn.Module.cuda
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *_device, **_named: self  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        torch.Tensor.cuda, nn.Module.cuda = before  # type: ignore[method-assign]


def npo(world: World, method: Any, model: nn.Module, seed: int, code: Path) -> nn.Module:
    """NPO, by open-unlearning's trainer, over rows padded by batch as theirs are."""
    from transformers import TrainingArguments

    folder = code / "open-unlearning" / "src"
    trainer = imported(folder, "trainer.unlearn.npo")
    pairs = imported(folder, "data.unlearn").ForgetRetainDataset
    task: Any = world.bench.task

    def collate(rows: list[dict[str, int]]) -> dict[str, dict[str, Tensor]]:
        found = {}
        for name in ("forget", "retain"):
            batch = task.batch(np.array([row[name] for row in rows]), None)
            seen = batch.inputs.new_ones(batch.inputs.shape)
            found[name] = {"input_ids": batch.inputs, "labels": batch.labels, "attention_mask": seen}
        return found

    moving = method.optimizer
    settings = TrainingArguments(
        output_dir="/tmp/compare_authors", num_train_epochs=method.epochs, learning_rate=moving.lr, seed=seed,
        per_device_train_batch_size=method.batch_size, weight_decay=moving.weight_decay, optim="adamw_torch",
        lr_scheduler_type="constant", max_grad_norm=moving.clip_norm or 0.0, save_strategy="no", report_to=[],
        use_cpu=True, remove_unused_columns=False, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    rows = pairs(world.splits.forget.tolist(), world.splits.retain.tolist())

    class Trainer(trainer.NPO):  # type: ignore[misc, name-defined]
        """Theirs, called as transformers 5 calls it."""

        def compute_loss(self, model: nn.Module, inputs: Any, *others: Any, **_named: Any) -> Any:
            return super().compute_loss(model, inputs, *others)

    Trainer(
        beta=method.beta, gamma=method.forget_weight, alpha=method.retain_weight, model=model, args=settings,
        train_dataset=rows, data_collator=collate,
    ).train()  # fmt: skip
    return model


THEIRS: dict[str, tuple[Callable[..., nn.Module], list[str]]] = {
    "distill": (distill, IMAGES), "ssd": (ssd, IMAGES), "scrub": (scrub, IMAGES), "salun": (salun, IMAGES),
    "npo": (npo, TEXT),
}  # fmt: skip


def compared(name: str, code: Path, words: Sequence[str], rounds: int) -> None:
    """Print how a method of ours and the authors' compare."""
    theirs, kind = THEIRS[name]
    world = World([*kind, f"method={name}", *words])
    method: Any = world.experiment.method
    found: dict[str, list[Any]] = {"ours": [], "theirs": []}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(rounds):
        for who in ("ours", "theirs") if seed % 2 == 0 else ("theirs", "ours"):
            model = copy.deepcopy(world.original).requires_grad_(True)
            problem = world.problem(seed)
            started = time.perf_counter()
            with seeded("round", seed), redirect_stdout(io.StringIO()):
                model = method(model, problem) if who == "ours" else theirs(world, method, model, seed, code)
            seconds[who].append(time.perf_counter() - started)
            found[who].append(world.accuracy(model))
    print(f"\n{name}: {method}")
    print(f"  original {shown([world.accuracy(world.original)])}, noise floor {world.floor:.3f}")
    for who, values in found.items():
        print(f"  {who:7} {shown(values)}, {statistics.median(seconds[who]):.1f} s")
    apart = float(np.abs(np.mean(found["ours"], axis=0) - np.mean(found["theirs"], axis=0)).mean())
    ratio = statistics.median(b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True))
    print(f"  mean difference {apart:.3f}; ours is {ratio:.2f} times as fast", flush=True)


def shown(values: Sequence[Any]) -> str:
    """Return accuracies on retain, forget and test as mean ± standard deviation."""
    mean, spread = np.mean(values, axis=0), np.std(values, axis=0)
    return ", ".join(f"{part} {m:.3f} ± {s:.3f}" for part, m, s in zip(PARTS, mean, spread, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--code", type=Path, required=True, help="the folder with the clones")
    parser.add_argument("--methods", nargs="+", choices=THEIRS, default=list(THEIRS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("words", nargs="*", help="further configuration, such as forget=random")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for one in given.methods:
        compared(one, given.code.resolve(), given.words, given.rounds)
