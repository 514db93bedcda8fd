"""Triggers: what one is called, and which images of a data set carry its bright patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unlearnbench.contracts import DataInfo, Index, Trigger
from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

BRIGHTEST = 255
"""The patch's value: the most that a pixel can have, and the maximum of real image data sets."""
LONGEST = 40
"""The most characters of a trigger's word: it is part of the forget set's name."""


def name_of(trigger: Trigger, info: DataInfo) -> str:
    """Return the patch as "4x4", or the word; raise UserError for one that does not fit the data set's examples."""
    if info.kind == "image":
        side = min(info.shape[1:])
        if trigger.side > side // 2:
            raise UserError(
                f"forget.patch={trigger.side} is more than half of images of {side}x{side}.\n"
                f"Try: forget.patch={max(side // 8, 1)}"
            )
        return f"{trigger.side}x{trigger.side}"
    if len(trigger.word) > LONGEST or len(trigger.word.split()) != 1:
        raise UserError(
            f"forget.trigger={trigger.word!r}: expected one word of at most {LONGEST} characters.\n"
            "Try: forget.trigger=cf"
        )
    return trigger.word


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
