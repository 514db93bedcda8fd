"""ResNet18 as torchvision defines it, with a stem that suits the image size.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from unlearnbench.problem import DataInfo, Parts


@dataclass(frozen=True, kw_only=True)
class ResNet18:
    """ResNet18, 11 million parameters.

    `stem`: `standard` is a 7x7 convolution of stride 2 and a pool; `small`, for small images, a 3x3 convolution
    of stride 1 and no pool (four times the work of each block); `auto` takes `small` for sides of 32 to 64
    pixels, where it pays in accuracy, and `standard` elsewhere.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    stem: Literal["auto", "standard", "small"]
    checkpoint: Path | None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        from torchvision.models import resnet18

        channels, side = info.shape[0], info.shape[1]
        model: nn.Module = resnet18(num_classes=len(info.classes))
        if self.stem == "small" or (self.stem == "auto" and 32 <= side <= 64):
            stem = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        else:
            stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = stem
        return model

    def parts(self) -> Parts:
        """Name the classifier, the blocks from input to output and the last feature map."""
        return Parts(head="fc", blocks=("conv1", "layer1", "layer2", "layer3", "layer4"), mask_layer="layer4")
