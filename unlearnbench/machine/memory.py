"""The peak memory of a computation: the GPU's where it runs on one, else the process's."""

from __future__ import annotations

import logging
from pathlib import Path

from unlearnbench.machine.devices import on_cuda

log = logging.getLogger("unlearnbench")


def reset_peak(device: str) -> None:
    """Start a new measurement of a device's peak memory (Linux and CUDA; elsewhere the process's peak counts)."""
    import torch

    if on_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("peak memory is that of the whole process here")


def peak_mib(device: str) -> float:
    """Return the peak memory in MiB since `reset_peak`: of the GPU where it is one, else of the process."""
    import resource

    import torch

    if on_cuda(device):
        return float(torch.cuda.max_memory_allocated(device) / 2**20)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
