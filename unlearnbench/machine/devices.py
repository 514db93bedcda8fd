"""The device of a run: resolve the setting, and tell the device's name and abilities."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from unlearnbench.errors import UserError, nearest

OTHER = {"gpu": "cuda", "nvidia": "cuda", "cuda:auto": "cuda", "none": "cpu"}
"""What people type for a device."""


def named(device: str) -> str:
    """Return a device's name if it is one; raise ValueError, with the nearest, if not."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        return device
    lower = device.strip().lower()
    hint = f" Did you mean '{OTHER[lower]}'?" if lower in OTHER else nearest(lower, ("auto", "cpu", "cuda", "cuda:0"))
    raise ValueError(f"expected auto, cpu, cuda or cuda:NUMBER, not {device!r}.{hint}")


Device = Annotated[str, AfterValidator(named)]
"""What `device=` may be."""


def on_cuda(device: str) -> bool:
    """Return whether a device is a CUDA GPU."""
    return device.startswith("cuda")


def resolved(device: str) -> str:
    """Return the device that `device=` means.

    Raises UserError for what is not a device, and for a GPU that this machine does not have.
    """
    import torch

    try:
        named(device)
    except ValueError as error:
        raise UserError(f"device: {error}") from error
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not on_cuda(device):
        return device
    if not torch.cuda.is_available():
        raise UserError(f"device={device} needs a CUDA GPU and driver, but PyTorch finds none.\nTry: device=cpu")
    number, count = torch.device(device).index or 0, torch.cuda.device_count()
    if number >= count:
        there = ", ".join(f"cuda:{one}" for one in range(count))
        raise UserError(f"device={device} does not exist: PyTorch finds {there}.\nTry: device=cuda:{count - 1}")
    return device


def name_of(device: str) -> str:
    """Return a GPU's name, such as "NVIDIA H100"; for another device, `device` itself."""
    import torch

    return torch.cuda.get_device_name(device) if on_cuda(device) else device


def has_bf16(device: str) -> bool:
    """Return whether a GPU supports bfloat16 in hardware."""
    import torch

    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
