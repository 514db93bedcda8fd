"""The device, number format and memory layout of a run, from documented tables.

bf16 means autocast to bfloat16. Whether bf16 and channels-last memory pay on a CPU depends on the processor, the model
and the image size. docs/precision.md has the measurements behind the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from unlearnbench.machine.devices import has_bf16, on_cuda, resolved

Choice = Literal["auto", "fp32", "bf16"]
Processor = Literal["amx", "amd_bf16", "other"]

NEVER = 10**9
LANGUAGE = {"hf": 0, "smollm2_135m": 0, "llama3_2_1b": 0, "llama3_2_3b": 0, "llama3_1_8b": 0}
BF16_FROM: dict[Processor, dict[str, int]] = {
    "amx": {
        **LANGUAGE,
        "tiny_cnn": 28,
        "tiny_resnet": 28,
        "vgg16": 28,
        "resnet9": 28,
        "resnet18": 32,
        "coatnet_nano": 32,
        "coatnet_0": 64,
    },
    "amd_bf16": {
        **LANGUAGE,
        "tiny_cnn": 28,
        "tiny_resnet": 28,
        "vgg16": 28,
        "resnet9": 28,
        "resnet18": 28,
        "coatnet_nano": 32,
        "coatnet_0": 32,
    },
    "other": {},
}
"""Image side (0 for text) from which bf16 pays on a CPU, by processor and model; other models use fp32."""
FP32_CHANNELS_LAST_FROM: dict[Processor, int] = {"amx": 28, "amd_bf16": 28, "other": NEVER}
"""Image side from which channels-last memory pays in fp32, by processor; in bf16 it always pays."""


@dataclass(frozen=True)
class Precision:
    """What `precision=` and `device=` resolve to; part of every key but for the device's name.

    `channels_last` is the memory layout of images and of the models that see them.
    """

    device: str = field(metadata={"key": False})
    bf16: bool
    channels_last: bool = False

    @property
    def name(self) -> str:
        """The number format's name in results."""
        return "bf16" if self.bf16 else "fp32"


@cache
def processor() -> Processor:
    """Return this CPU's kind: with AMX, AMD with AVX512_BF16, or another."""
    cpuinfo = Path("/proc/cpuinfo")
    return processor_of(cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else "")


def processor_of(cpuinfo: str) -> Processor:
    """Return the kind of CPU in this text of /proc/cpuinfo."""
    if "amx_bf16" in cpuinfo:
        return "amx"
    return "amd_bf16" if "AuthenticAMD" in cpuinfo and "avx512_bf16" in cpuinfo else "other"


def resolve(choice: Choice, device: str, model: str, side: int, *, planning: bool = False) -> Precision:
    """Return the precision of a run; raise UserError for a missing device. `side` is 0 for text.

    With `planning`, a GPU may be missing: we assume that it computes in bf16, as all since 2020 do.
    """
    there = planning and on_cuda(device)
    device = device if there else resolved(device)
    if on_cuda(device):
        bf16 = (there or has_bf16(device)) if choice == "auto" else choice == "bf16"
        return Precision(device, bf16, channels_last=bf16 and side > 0)
    bf16 = side >= BF16_FROM[processor()].get(model, NEVER) if choice == "auto" else choice == "bf16"
    return Precision(device, bf16, channels_last=side > 0 and (bf16 or side >= FP32_CHANNELS_LAST_FROM[processor()]))
