"""The device and number format of a run: a documented table, never a measurement at run time.

bf16 means autocast to bfloat16 with channels-last memory; the two only pay together. On a CPU they need
AMX, and work enough per image: docs/precision.md has the measured table behind `SMALLEST_SIDE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearnbench.devices import has_bf16, on_cuda, resolved

Choice = Literal["auto", "fp32", "bf16"]

SMALLEST_SIDE = {
    "tiny_cnn": 28,
    "tiny_resnet": 28,
    "vgg16": 28,
    "resnet9": 28,
    "resnet18": 32,
    "coatnet_nano": 32,
    "coatnet_0": 32,
    "smollm2_135m": 0,
    "llama3_2_1b": 0,
    "llama3_2_3b": 0,
    "llama3_1_8b": 0,
}
"""Image side (0 for text) from which bf16 pays on a CPU with AMX, by model; a model not named here stays in fp32."""


@dataclass(frozen=True)
class Precision:
    """What `precision=` and `device=` resolve to; part of every key."""

    device: str
    bf16: bool


def cpu_has_amx() -> bool:
    """Say whether the processor multiplies bfloat16 tiles in hardware (Linux; elsewhere False)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text(encoding="utf-8", errors="replace")


def resolve(choice: Choice, device: str, model: str, side: int) -> Precision:
    """Return the precision of a run; raise UserError for a device that is not here."""
    device = resolved(device)
    if choice != "auto":
        return Precision(device, choice == "bf16")
    if on_cuda(device):
        return Precision(device, has_bf16(device))
    return Precision(device, cpu_has_amx() and side >= SMALLEST_SIDE.get(model, 10**9))
