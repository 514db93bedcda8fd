#!/usr/bin/env python3
"""Time a training step of several small models, one after the other and stacked with torch.func.

    python scripts/bench_stacked.py [--device cuda] [--models 8]

Prints milliseconds for one step of all models, the best of three, and their ratio: below 1, stacking pays.
"""

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from unlearnbench.contracts import DataInfo
from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.tiny import TinyCNN, TinyResNet

INFO = DataInfo(kind="image", classes=tuple("0123456789"), train=3600, test=1000, shape=(1, 28, 28))
SPECS = {"tiny_cnn": TinyCNN(checkpoint=None), "tiny_resnet": TinyResNet(depth=14, checkpoint=None)}


def loop(models: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a step of each model, one after the other."""
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9) for model in models]

    def step() -> None:
        for model, optimizer, x, y in zip(models, optimizers, images, labels, strict=True):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    return step


def stacked(models: list[nn.Module], images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Return a step of all models at once."""
    parameters, buffers = stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.SGD(list(parameters.values()), lr=0.02, momentum=0.9)

    def loss(own: dict[str, Tensor], state: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(base, (own, state), (x,)), y)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        vmap(loss, randomness="different")(parameters, buffers, images, labels).sum().backward()
        optimizer.step()

    return step


def milliseconds(step: Callable[[], None], device: str, repeats: int = 3) -> float:
    """Return the shortest time of a step."""
    step()
    found = []
    for _ in range(repeats):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found) * 1000


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(given.models, given.batch, 1, 28, 28, device=given.device)
    labels = torch.randint(0, 10, (given.models, given.batch), device=given.device)
    for name, spec in {**SPECS, "resnet18": ResNet18(checkpoint=None, pretrained=None)}.items():
        models = [spec.build(INFO).to(given.device).train() for _ in range(given.models)]
        alone, together = (milliseconds(make(models, images, labels), given.device) for make in (loop, stacked))
        print(f"{name}: {alone:.1f} ms one by one, {together:.1f} ms stacked, ratio {together / alone:.2f}", flush=True)


if __name__ == "__main__":
    main()
