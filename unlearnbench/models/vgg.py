"""VGG16 with torchvision's convolutions, and a classifier that suits the image size.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, arXiv:1409.1556.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from unlearnbench.problem import DataInfo, Parts

SMALL_SIDE = 64
"""Up to this image side the classifier is one linear layer on the pooled features, as is usual on CIFAR."""


@dataclass(frozen=True, kw_only=True)
class VGG16:
    """VGG16, 15 million parameters on small images and 134 million above 64 pixels."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    batch_norm: bool
    checkpoint: Path | None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        from torchvision.models import vgg16, vgg16_bn

        channels, side = info.shape[0], info.shape[1]
        model: nn.Module = (vgg16_bn if self.batch_norm else vgg16)(num_classes=len(info.classes))
        assert isinstance(model.features, nn.Sequential)
        if channels != 3:
            model.features[0] = stem = nn.Conv2d(channels, 64, 3, padding=1)
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        if side <= SMALL_SIDE:
            model.avgpool = nn.AdaptiveAvgPool2d(1)
            model.classifier = nn.Sequential(nn.Linear(512, len(info.classes)))
        pools = [number for number, layer in enumerate(model.features) if isinstance(layer, nn.MaxPool2d)]
        while pools and side < 2 ** len(pools):
            model.features[pools.pop()] = nn.Identity()
        return model

    def parts(self) -> Parts:
        """Name the classifier, the features as one block and as the layer to mask (Table I of the study)."""
        return Parts(head="classifier", blocks=("features",), mask_layer="features")
