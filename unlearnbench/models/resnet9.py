"""ResNet9, the small, fast residual network of the DAWNBench entries on CIFAR-10.

Page: How to Train Your ResNet (2018), https://myrtle.ai/learn/how-to-train-your-resnet/: the network of part 4,
without its scaling of the logits. Coleman et al.: DAWNBench (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.errors import UserError
from unlearnbench.models.head import Dropout, dropped

SMALLEST_SIDE = 8
"""The image is halved three times before the last feature map."""


def _block(width_in: int, width: int, pool: bool = False) -> nn.Sequential:
    convolution = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
    layers = [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_block(width, width), _block(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Add two convolutions' output to their input, (n, width, h, w)."""
        out: Tensor = x + self.blocks(x)
        return out


class _ResNet9(nn.Module):
    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = _block(channels, 64)
        self.conv2 = _block(64, 128, pool=True)
        self.res1 = _Residual(128)
        self.conv3 = _block(128, 256, pool=True)
        self.conv4 = _block(256, 512, pool=True)
        self.res2 = _Residual(512)
        self.linear = dropped(nn.Linear(512, classes), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) to logits (n, classes)."""
        x = self.res1(self.conv2(self.conv1(x)))
        x = self.res2(self.conv4(self.conv3(x)))
        out: Tensor = self.linear(x.amax(dim=(2, 3)))
        return out


@dataclass(frozen=True, kw_only=True)
class ResNet9:
    """ResNet9, 6.6 million parameters, for images of at least 8 pixels.

    `dropout` comes before the last layer.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    dropout: Dropout
    checkpoint: Path | None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        channels, side = info.shape[0], info.shape[1]
        if side < SMALLEST_SIDE:
            raise UserError(
                f"model=resnet9 needs images of at least {SMALLEST_SIDE} pixels; these have {side}.\n"
                f"Try: dataset.size={SMALLEST_SIDE}, or model=tiny_resnet"
            )
        return _ResNet9(channels, len(info.classes), self.dropout)

    def parts(self) -> Parts:
        """Name the classifier, the blocks from input to output and the last feature map."""
        blocks = ("conv1", "conv2", "res1", "conv3", "conv4", "res2")
        return Parts(head="linear", blocks=blocks, mask_layer="res2")
