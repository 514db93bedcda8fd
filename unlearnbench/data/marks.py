"""Marks: which images of a data set carry the bright patch of a trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import Index, Trigger

if TYPE_CHECKING:
    from torch import Tensor

BRIGHTEST = 255
"""The patch's value: the most that a pixel can have, and the maximum of real image data sets."""


@dataclass(frozen=True, eq=False)
class Marks:
    """The images that carry a trigger's patch: `rows` (n,) bool marks them."""

    trigger: Trigger
    rows: NDArray[np.bool_]

    def prints(self) -> list[bytes]:
        """Return what the patch adds to the fingerprint of each example: nothing where there is none."""
        patch = f"patch {self.trigger.side}".encode()
        return [patch if carries else b"" for carries in self.rows.tolist()]

    def stamped(self, images: Tensor, index: Index) -> Tensor:
        """Put the patch into those of these images (m, c, h, w) that carry it, in place."""
        import torch

        side = self.trigger.side
        carries = torch.from_numpy(self.rows[index]).to(images.device)[:, None, None, None]
        corner = images[:, :, -side:, -side:]
        corner.copy_(torch.where(carries, BRIGHTEST, corner))
        return images
