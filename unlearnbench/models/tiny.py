"""Small networks: a CIFAR-style ResNet for sweeps on a CPU, and a network for tests.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2, arXiv:1512.03385.
Submodules have the names of akamaster/pytorch_resnet_cifar10, so that its published weights load.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import DataInfo, Parts


class _Block(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.stride = width // width_in if width_in != width else 1
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.missing = width - width_in

    def forward(self, x: Tensor) -> Tensor:
        """Add the block to its input; a wider block pads the input's channels with zeros (option A)."""
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.missing // 2, self.missing - self.missing // 2))
        return functional.relu(out + x)


class _CifarResNet(nn.Module):
    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        each = (depth - 2) // 6
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[_Block(16, 16) for _ in range(each)])
        self.layer2 = nn.Sequential(_Block(16, 32), *[_Block(32, 32) for _ in range(each - 1)])
        self.layer3 = nn.Sequential(_Block(32, 64), *[_Block(64, 64) for _ in range(each - 1)])
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) to logits (n, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.linear(x.mean(dim=(2, 3)))
        return out


@dataclass(frozen=True, kw_only=True)
class TinyResNet:
    """A CIFAR-style ResNet: .18 million parameters at depth 14, .27 at depth 20, .86 at depth 56."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    depth: Annotated[int, Field(ge=8, le=1202, multiple_of=1)]
    checkpoint: Path | None

    def __post_init__(self) -> None:
        if (self.depth - 2) % 6:
            raise ValueError(f"model.depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110), not {self.depth}")

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        return _CifarResNet(self.depth, info.shape[0], len(info.classes))

    def parts(self) -> Parts:
        """Name the classifier, the blocks from input to output and the last feature map."""
        return Parts(head="linear", blocks=("conv1", "layer1", "layer2", "layer3"), mask_layer="layer3")


class _Cnn(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.features = nn.ReLU()
        self.linear = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, c, h, w) to logits (n, classes)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.features(self.bn2(self.conv2(x)))
        out: Tensor = self.linear(x.mean(dim=(2, 3)))
        return out


@dataclass(frozen=True, kw_only=True)
class TinyCNN:
    """Two convolutions and a linear layer, 5,000 parameters, for tests and the smoke experiment."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    checkpoint: Path | None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        return _Cnn(info.shape[0], len(info.classes))

    def parts(self) -> Parts:
        """Name the classifier, the blocks from input to output and the last feature map."""
        return Parts(head="linear", blocks=("conv1", "conv2"), mask_layer="features")
