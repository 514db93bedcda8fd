"""VGG16 with torchvision's convolutions and a classifier that suits the image size.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015, arXiv:1409.1556.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.errors import UserError
from unlearnbench.models import imagenet
from unlearnbench.models.head import Dropout, dropped
from unlearnbench.models.start import Base

SMALL_SIDE = 64
"""Up to this side, the classifier is one linear layer on the pooled features, as is usual for CIFAR."""
HIDDEN_DROPOUT = 0.5
"""The authors' dropout on the large classifier's two hidden layers."""
TIMM_NAMES = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}
"""The large classifier's layers: timm's name to torchvision's. In timm, the first two are convolutions."""


@dataclass(frozen=True, kw_only=True)
class VGG16:
    """VGG16, 15 million parameters on small images and 134 million above 64 pixels.

    `dropout` comes before the last layer; at 0 the large classifier keeps the authors' .5 on its hidden layers.
    `pretrained` true means torchvision's ImageNet weights; for small images only their convolutions are used.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    batch_norm: bool
    dropout: Dropout
    pretrained: bool | Path = field(metadata={"key": False})
    checkpoint: Path | None
    base: Base | None

    def check(self) -> None:
        """Raise UserError if pretrained weights are requested and not available."""
        imagenet.check(self.pretrained, self._hub(), self.base, self.checkpoint)

    def files(self) -> dict[str, Path]:
        """Return the file of pretrained weights, if any; its content is part of every key."""
        return imagenet.files(self.pretrained, self._hub())

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        from torchvision.models import vgg16, vgg16_bn

        channels, side = info.shape[0], info.shape[1]
        kind = vgg16_bn if self.batch_norm else vgg16
        model: nn.Module = kind(num_classes=len(info.classes), dropout=self.dropout or HIDDEN_DROPOUT)
        assert isinstance(model.features, nn.Sequential)
        if channels != 3:
            model.features[0] = stem = nn.Conv2d(channels, 64, 3, padding=1)
            nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        if side <= SMALL_SIDE:
            model.avgpool = nn.AdaptiveAvgPool2d(1)
            model.classifier = nn.Sequential(dropped(nn.Linear(512, len(info.classes)), self.dropout))
        pools = [number for number, layer in enumerate(model.features) if isinstance(layer, nn.MaxPool2d)]
        while pools and side < 2 ** len(pools):
            model.features[pools.pop()] = nn.Identity()
        return model

    def start(self, info: DataInfo) -> nn.Module:
        """Return the network with pretrained weights and a new last layer.

        Raises UserError if they do not fit.
        """
        if info.shape[0] != 3:
            raise UserError(
                f"model.pretrained needs colour images; these have {info.shape[0]} channels.\n"
                "Try: dataset=cifar10, or model.pretrained=false"
            )
        state = in_torchvision_names(imagenet.read(self.pretrained, self._hub()))
        if info.shape[1] > SMALL_SIDE:
            return imagenet.load(self.build(info), state, "classifier.6", self.pretrained)
        return imagenet.load(self.build(info), state, "classifier", self.pretrained)

    def parts(self) -> Parts:
        """Name the classifier, and the features as block and layer to mask (the study's Table I)."""
        return Parts(head="classifier", blocks=("features",), mask_layer="features")

    def _hub(self) -> str:
        return "timm/vgg16_bn.tv_in1k" if self.batch_norm else "timm/vgg16.tv_in1k"


def in_torchvision_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename timm's classifier and flatten its convolutions (o, i, 7, 7) to matrices (o, 49 i)."""
    named = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        named[f"{TIMM_NAMES.get(layer, layer)}.{last}"] = (
            tensor.flatten(1) if layer in TIMM_NAMES and tensor.ndim == 4 else tensor
        )
    return named
