"""What a computation uses: wall-clock seconds, the processor's seconds, and on CUDA those that the GPU was held."""

from __future__ import annotations

import os
import time

from unlearnbench.machine.devices import on_cuda


class Meter:
    """Measures from when it is made until `spent` is asked.

    `cpu_seconds` are user and system time of all threads of this process, and of the processes that it started and
    that have ended. Other work on the machine is not in them, but the waiting of threads that spin is.
    `gpu_seconds` are wall-clock seconds between two synchronisations: how long the process held the GPU. A GPU has no
    clock of a process's own, and one that several processes share is slower for each of them.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._synchronise()
        self.wall, self.cpu = time.perf_counter(), _cpu_seconds()

    def spent(self) -> dict[str, float]:
        """Return the seconds of each kind so far, by name."""
        self._synchronise()
        seconds = time.perf_counter() - self.wall
        gpu = {"gpu_seconds": seconds} if on_cuda(self.device) else {}
        return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - self.cpu, **gpu}

    def _synchronise(self) -> None:
        """Wait until the GPU has done what it was asked to do."""
        if on_cuda(self.device):
            import torch

            torch.cuda.synchronize(self.device)


def _cpu_seconds() -> float:
    """Return the seconds that processors have worked for this process and its ended children."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system
