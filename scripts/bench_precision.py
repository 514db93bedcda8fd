#!/usr/bin/env python3
"""Time a training step and a forward pass in fp32 and bf16, by model and image size: the table of docs/precision.md.

    python scripts/bench_precision.py

Prints a Markdown table of milliseconds an image (batch of 128), the minimum over five steps after a warm-up.
"""

import time
from collections.abc import Callable

import torch
from torch.nn import functional

from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.tiny import TinyCNN, TinyResNet
from unlearnbench.models.vgg import VGG16
from unlearnbench.problem import DataInfo, ModelSpec

BATCH, REPEATS = 128, 5
MODELS: dict[str, ModelSpec] = {
    "tiny_cnn": TinyCNN(checkpoint=None),
    "tiny_resnet": TinyResNet(depth=14, checkpoint=None),
    "vgg16": VGG16(batch_norm=True, dropout=0.0, pretrained=False, checkpoint=None),
    "resnet18": ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None),
}
SIZES = ((8, 1), (28, 1), (32, 3), (64, 3))


def fastest(work: Callable[[], object]) -> float:
    """Return the least milliseconds an image that the work takes."""
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times) / BATCH * 1e3


def measure(spec: ModelSpec, side: int, channels: int, bf16: bool) -> tuple[float, float]:
    """Return milliseconds an image of a training step and of a forward pass."""
    info = DataInfo(kind="image", classes=tuple("0123456789"), train=1, test=1, shape=(channels, side, side))
    layout = torch.channels_last if bf16 else torch.contiguous_format
    model = spec.build(info).to(memory_format=layout)
    images = torch.randn(BATCH, channels, side, side).to(memory_format=layout)
    labels = torch.randint(0, 10, (BATCH,))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)

    def logits() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(images).float()

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(logits(), labels).backward()
        optimizer.step()

    training = fastest(step)
    model.eval()
    with torch.inference_mode():
        return training, fastest(logits)


def main() -> None:
    """Print the table."""
    print("| model | side | train fp32 | train bf16 | ratio | score fp32 | score bf16 | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name, spec in MODELS.items():
        for side, channels in SIZES:
            fp32, bf16 = measure(spec, side, channels, False), measure(spec, side, channels, True)
            cells = [f"{fp32[k]:.2f} | {bf16[k]:.2f} | {fp32[k] / bf16[k]:.2f}" for k in (0, 1)]
            print(f"| `{name}` | {side} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
