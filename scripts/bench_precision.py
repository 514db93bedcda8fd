#!/usr/bin/env python3
"""Time a training step and a forward pass by number format and memory layout: the tables of docs/precision.md.

    python scripts/bench_precision.py [--threads N] [--batch 128] [--device cpu] [MODEL ...]

Prints two Markdown tables of milliseconds an example. Images: fp32 and bf16, each with contiguous and channels-last
memory. Text (8 sequences of 128 tokens): fp32, bf16 autocast over float32 weights, and bf16 weights under a low-rank
adapter beside fp32 ones. Each figure is the minimum over five steps after a warm-up; the ways take turns, so that a
drift of the machine slows all of them. Run it on an idle machine: beside another process the ratios turn round.
On a CUDA device each figure waits for the device.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import DataInfo, ModelSpec
from unlearnbench.errors import UserError
from unlearnbench.machine.precision import processor
from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.resnet9 import ResNet9
from unlearnbench.models.timm_model import TimmModel
from unlearnbench.models.tiny import TinyCNN, TinyResNet
from unlearnbench.models.vgg import VGG16

REPEATS = 5


def timm_model(architecture: str) -> TimmModel:
    """Return the configuration of one of timm's models, with random weights."""
    return TimmModel(architecture=architecture, dropout=0.0, pretrained=False, checkpoint=None, base=None)


MODELS: dict[str, ModelSpec] = {
    "tiny_cnn": TinyCNN(checkpoint=None),
    "tiny_resnet": TinyResNet(depth=14, checkpoint=None),
    "vgg16": VGG16(batch_norm=True, dropout=0.0, pretrained=False, checkpoint=None, base=None),
    "resnet18": ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None, base=None),
    "resnet9": ResNet9(dropout=0.0, checkpoint=None),
    "efficientformerv2_s0": timm_model("efficientformerv2_s0"),
    "coatnet_nano": timm_model("coatnet_nano_rw_224"),
    "coatnet_0": timm_model("coatnet_0_rw_224"),
}
SIZES = ((8, 1), (28, 1), (32, 3), (64, 3))
LANGUAGE = {
    "llama_tiny": (64, 2, 4, 4, 192, 1024),
    "smollm2_135m": (576, 30, 9, 3, 1536, 49152),
}
"""Hidden size, layers, heads, key-value heads, inner size, vocabulary; random weights take as long as trained ones."""
ROWS, TOKENS = 8, 128


@dataclass(frozen=True, eq=False)
class Way:
    """One way to compute the same thing: its column's name, a training step and a forward pass."""

    name: str
    step: Callable[[], object]
    score: Callable[[], object]


def fastest(works: Sequence[Callable[[], object]], examples: int) -> list[float]:
    """Return the least milliseconds an example that each work takes; they take turns."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(1 + REPEATS):
        for spent, work in zip(times, works, strict=True):
            started = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - started)
    return [min(spent[1:]) / examples * 1e3 for spent in times]


def autocast(bf16: bool) -> AbstractContextManager[object]:
    """Return autocast to bfloat16, or nothing."""
    return torch.autocast(torch.get_default_device().type, torch.bfloat16, enabled=bf16)


def stepping(model: nn.Module, logits: Callable[[], Tensor], labels: Tensor) -> Callable[[], None]:
    """Return one step of training by SGD."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.01, momentum=0.9, fused=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        functional.cross_entropy(logits(), labels).backward()
        optimizer.step()

    return step


def scoring(model: nn.Module, logits: Callable[[], Tensor]) -> Callable[[], None]:
    """Return one forward pass in evaluation mode."""

    def score() -> None:
        model.eval()
        with torch.inference_mode():
            logits()

    return score


def image_way(spec: ModelSpec, side: int, channels: int, batch: int, bf16: bool, last: bool) -> Way:
    """Return a model of images in one format and layout, with a batch to train on and to score."""
    info = DataInfo(kind="image", classes=tuple("0123456789"), train=1, test=1, shape=(channels, side, side))
    layout = torch.channels_last if last else torch.contiguous_format
    model = spec.build(info).to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(batch, channels, side, side).to(memory_format=layout)
    labels = torch.randint(0, 10, (batch,))

    def logits() -> Tensor:
        with autocast(bf16):
            out: Tensor = model(images).float()
        return out

    name = f"{'bf16' if bf16 else 'fp32'} {'channels-last' if last else 'contiguous'}"
    return Way(name, stepping(model, logits, labels), scoring(model, logits))


def text_way(name: str, bf16: bool, adapter: bool) -> Way:
    """Return a LLaMA in one format, all of it trained or an adapter over frozen weights, with a batch."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from unlearnbench.models.adapter import Adapter, attach

    hidden, layers, heads, key_heads, inner, vocabulary = LANGUAGE[name]
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=key_heads, intermediate_size=inner, tie_word_embeddings=True,
    )  # fmt: skip
    model: nn.Module = LlamaForCausalLM(config)
    if adapter:
        model = model.to(torch.bfloat16 if bf16 else torch.float32)
        model = attach(model, Adapter(r=8, alpha=16, dropout=0.0, targets=("q_proj", "v_proj")))
    tokens = torch.randint(0, vocabulary, (ROWS, TOKENS))

    def logits() -> Tensor:
        with autocast(bf16):
            out: Tensor = model(input_ids=tokens, use_cache=False).logits.float().flatten(0, 1)
        return out

    way = f"{'bf16' if bf16 else 'fp32'}{' adapter' if adapter else ''}"
    return Way(way, stepping(model, logits, tokens.flatten()), scoring(model, logits))


def row(label: str, ways: Sequence[Way], examples: int) -> str:
    """Return a table's row: milliseconds an example in training, then in scoring."""
    cells = []
    for works in ([way.step for way in ways], [way.score for way in ways]):
        cells += [f"{milliseconds:.2f}" for milliseconds in fastest(works, examples)]
    return f"| {label} | {' | '.join(cells)} |"


def head(first: str, names: Sequence[str]) -> str:
    """Return a table's head, with each way's column in training and in scoring."""
    cells = [f"train {name}" for name in names] + [f"score {name}" for name in names]
    return f"| {first} | {' | '.join(cells)} |\n|{'---|' * (first.count('|') + 1 + len(cells))}"


def images(names: Sequence[str], batch: int) -> None:
    """Print the table of image models."""
    choices = [(bf16, last) for bf16 in (False, True) for last in (False, True)]
    labels = ["fp32 contiguous", "fp32 channels-last", "bf16 contiguous", "bf16 channels-last"]
    print(head("model | side", labels), flush=True)
    for name in names:
        for side, channels in SIZES:
            try:
                ways = [image_way(MODELS[name], side, channels, batch, *choice) for choice in choices]
            except UserError:
                continue  # too small for this model
            print(row(f"`{name}` | {side}", ways, batch), flush=True)


def texts(names: Sequence[str]) -> None:
    """Print the table of language models."""
    choices = [(False, False), (True, False), (False, True), (True, True)]
    print(head("model", ["fp32", "bf16", "fp32 adapter", "bf16 adapter"]), flush=True)
    for name in names:
        print(row(f"`{name}`", [text_way(name, *choice) for choice in choices], ROWS), flush=True)


def main() -> None:
    """Print the tables, of the models named on the command line or of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join([*MODELS, *LANGUAGE]))
    given = parser.parse_args()
    unknown = [name for name in given.models if name not in {**MODELS, **LANGUAGE}]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join([*MODELS, *LANGUAGE])}")
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.set_default_device(given.device)
    chosen = given.models or [*MODELS, *LANGUAGE]
    where = f"{processor()} CPU, {torch.get_num_threads()} threads"
    print(f"{where if given.device == 'cpu' else torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    if any(name in MODELS for name in chosen):
        images([name for name in chosen if name in MODELS], given.batch)
        print()
    if any(name in LANGUAGE for name in chosen):
        texts([name for name in chosen if name in LANGUAGE])


if __name__ == "__main__":
    main()
