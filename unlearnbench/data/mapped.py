"""Images in a mapped file, read batch by batch, the next one in the background: a set need not fit in memory."""

from __future__ import annotations

import os
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearnbench.contracts import Index

SHARE = 0.25
"""The share of a device's free memory up to which a set of images is kept there whole."""
AHEAD = 8
"""The most batches that wait to be used: a few streams, each one batch ahead."""


class MappedImages:
    """Images (n, c, h, w) uint8: number i is row `places[i]` of a mapped file.

    With `whole` they are always kept on the device whole, or never; None means: if they fit into SHARE of its free
    memory.
    """

    def __init__(self, pixels: NDArray[np.uint8], places: Index, whole: bool | None = None) -> None:
        self.pixels, self.places, self.whole = pixels, places, whole
        self.shape = (len(places), *pixels.shape[1:])
        self.file = getattr(pixels, "filename", None) or "the cache of decoded images"
        self.pinned = False
        self._coming: OrderedDict[bytes, Future[Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.places)

    def fits(self, device: torch.device) -> bool:
        """Return whether to keep all of them on the device."""
        if self.whole is not None:
            return self.whole
        return int(np.prod(self.shape)) <= SHARE * _free(device)

    def read(self, index: Index) -> Tensor:
        """Return the images at these positions, (m, c, h, w), in memory that is pinned where there is a GPU."""
        rows = torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8, pin_memory=self.pinned)
        np.take(self.pixels, self.places[index], axis=0, out=rows.numpy(), mode="clip")  # with "raise" it would copy
        return rows

    def fetch(self, index: Index) -> None:
        """Start to read the images at these positions in the background; `batch` will ask for them soon."""
        name = index.tobytes()
        if name not in self._coming:
            self._coming[name] = self._reader.submit(self.read, index)
        while len(self._coming) > AHEAD:  # a training that ended early never asked for them
            self._coming.popitem(last=False)

    def batch(self, index: Index, device: torch.device) -> Tensor:
        """Return the images at these positions on the device; a GPU copies them while this process goes on."""
        self.pinned = device.type == "cuda"
        coming = self._coming.pop(index.tobytes(), None)
        rows = self.read(index) if coming is None else coming.result()
        return rows.to(device, non_blocking=True)

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "images")


def _free(device: torch.device) -> int:
    """Return the free memory of a device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not Linux
        return 2**32
