#!/usr/bin/env python3
"""Time a training step and a forward pass in fp32 and bf16, by model and image size: the table of docs/precision.md.

    python scripts/bench_precision.py [--one-thread] [MODEL ...]

Prints a Markdown table of milliseconds an image (batch of 128), the minimum over five steps after a warm-up; the two
formats take turns, so that what else the machine does slows both. --one-thread counts CPU time on a busy machine,
where threads that wait for each other would drown the difference.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from unlearnbench.errors import UserError
from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.resnet9 import ResNet9
from unlearnbench.models.timm_model import TimmModel
from unlearnbench.models.tiny import TinyCNN, TinyResNet
from unlearnbench.models.vgg import VGG16
from unlearnbench.problem import DataInfo, ModelSpec

BATCH, REPEATS = 128, 5


def timm_model(architecture: str) -> TimmModel:
    """Return the configuration of one of timm's models, with random weights."""
    return TimmModel(architecture=architecture, dropout=0.0, pretrained=False, checkpoint=None)


MODELS: dict[str, ModelSpec] = {
    "tiny_cnn": TinyCNN(checkpoint=None),
    "tiny_resnet": TinyResNet(depth=14, checkpoint=None),
    "vgg16": VGG16(batch_norm=True, dropout=0.0, pretrained=False, checkpoint=None),
    "resnet18": ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None),
    "resnet9": ResNet9(dropout=0.0, checkpoint=None),
    "efficientformerv2_s0": timm_model("efficientformerv2_s0"),
    "coatnet_nano": timm_model("coatnet_nano_rw_224"),
    "coatnet_0": timm_model("coatnet_0_rw_224"),
}
SIZES = ((8, 1), (28, 1), (32, 3), (64, 3))


def fastest(works: Sequence[Callable[[], object]], clock: Callable[[], float]) -> list[float]:
    """Return the least milliseconds an image that each work takes by the clock; they take turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(1 + REPEATS):
        for spent, work in zip(times, works, strict=True):
            started = clock()
            work()
            spent.append(clock() - started)
    return [min(spent[1:]) / BATCH * 1e3 for spent in times]


class Subject:
    """A model in one format, with a batch to train on and to score."""

    def __init__(self, spec: ModelSpec, side: int, channels: int, bf16: bool) -> None:
        info = DataInfo(kind="image", classes=tuple("0123456789"), train=1, test=1, shape=(channels, side, side))
        layout = torch.channels_last if bf16 else torch.contiguous_format
        self.bf16, self.model = bf16, spec.build(info).to(memory_format=layout)
        self.images = torch.randn(BATCH, channels, side, side).to(memory_format=layout)
        self.labels = torch.randint(0, 10, (BATCH,))
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, momentum=0.9, fused=True)

    def logits(self) -> torch.Tensor:
        """Return the model's outputs, (n, 10) float32."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.model(self.images).float()

    def step(self) -> None:
        """Take one step of training."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.logits(), self.labels).backward()
        self.optimizer.step()


def measure(spec: ModelSpec, side: int, channels: int, clock: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Return milliseconds an image of a training step and of a forward pass, each in fp32 and bf16."""
    subjects = [Subject(spec, side, channels, bf16) for bf16 in (False, True)]
    training = fastest([subject.step for subject in subjects], clock)
    for subject in subjects:
        subject.model.eval()
    with torch.inference_mode():
        return training, fastest([subject.logits for subject in subjects], clock)


def main() -> None:
    """Print the table, of the models named on the command line or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    given = parser.parse_args()
    unknown = [name for name in given.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(MODELS)}")
    if given.one_thread:
        torch.set_num_threads(1)
    print("| model | side | train fp32 | train bf16 | ratio | score fp32 | score bf16 | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.models or MODELS:
        for side, channels in SIZES:
            try:
                times = measure(
                    MODELS[name], side, channels, time.process_time if given.one_thread else time.perf_counter
                )
            except UserError:
                continue  # too small for this model
            cells = [f"{fp32:.2f} | {bf16:.2f} | {fp32 / bf16:.2f}" for fp32, bf16 in times]
            print(f"| `{name}` | {side} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
