"""ResNet18 as torchvision defines it, with a stem that suits the image size.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from torch import nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.errors import UserError
from unlearnbench.models import imagenet
from unlearnbench.models.head import Dropout, dropped
from unlearnbench.models.start import Base

HUB = "timm/resnet18.tv_in1k"
"""torchvision's weights of 2016, 69.8 % on ImageNet."""


@dataclass(frozen=True, kw_only=True)
class ResNet18:
    """ResNet18, 11 million parameters.

    `stem`: `standard` is a 7x7 convolution of stride 2 and a pool. `small`, for small images, is a 3x3 convolution of
    stride 1 without a pool; each block then does four times the work. `auto` takes `small` for sides of 32 to 64
    pixels, where it improves accuracy, and `standard` for other sides and for pretrained weights, which need it.
    `dropout` comes before the last layer; `pretrained` true means torchvision's ImageNet weights.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    stem: Literal["auto", "standard", "small"]
    dropout: Dropout
    pretrained: bool | Path = field(metadata={"key": False})
    checkpoint: Path | None
    base: Base | None

    def check(self) -> None:
        """Raise UserError if pretrained weights are requested and not available."""
        imagenet.check(self.pretrained, HUB, self.base, self.checkpoint)

    def files(self) -> dict[str, Path]:
        """Return the file of pretrained weights, if any; its content is part of every key."""
        return imagenet.files(self.pretrained, HUB)

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        from torchvision.models import resnet18

        channels, side = info.shape[0], info.shape[1]
        model: nn.Module = resnet18(num_classes=len(info.classes))
        if self._small(side):
            stem = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        else:
            stem = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        model.conv1 = stem
        assert isinstance(model.fc, nn.Linear)
        model.fc = dropped(model.fc, self.dropout)
        return model

    def start(self, info: DataInfo) -> nn.Module:
        """Return the network with pretrained weights and a new last layer.

        Raises UserError if they do not fit.
        """
        if info.shape[0] != 3 or self._small(info.shape[1]):
            raise UserError(
                f"model.pretrained needs colour images and the standard stem; this run has {info.shape[0]} channels "
                f"and model.stem={self.stem}.\nTry: dataset=cifar10 model.stem=standard, or model.pretrained=false"
            )
        return imagenet.load(self.build(info), imagenet.read(self.pretrained, HUB), "fc", self.pretrained)

    def parts(self) -> Parts:
        """Name the classifier, the blocks from input to output and the last feature map."""
        return Parts(head="fc", blocks=("conv1", "layer1", "layer2", "layer3", "layer4"), mask_layer="layer4")

    def _small(self, side: int) -> bool:
        """Return whether to use the stem for small images."""
        return self.stem == "small" or (self.stem == "auto" and self.pretrained is False and 32 <= side <= 64)
