"""5,000 images of Fashion-MNIST, embedded.

The default data set, because it needs no network. scripts/build_fashion.py chose the images: the first 4,000 are for
training, the last 1,000 for testing, both balanced.

Xiao, Rasul, Vollgraf: Fashion-MNIST (2017), arXiv:1708.07747; MIT licence (fashion.LICENSE beside this file).
"""

from __future__ import annotations

import hashlib
import io
import lzma
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unlearnbench.contracts import DataInfo
from unlearnbench.data.images import ImageData, ImageSettings, image_data
from unlearnbench.errors import UserError

FILE = Path(__file__).with_name("fashion.npz.xz")
SHA256 = "386642ad3ee1fe05b7c9065365eaf53c7ee8de9d6c8791e3836c098d8d363670"
TRAIN, TEST, SIDE = 4000, 1000, 28
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SUPERCLASSES = ("tops", "trousers", "dresses", "footwear", "bags")
PARENTS = (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)


@dataclass(frozen=True, kw_only=True)
class Fashion(ImageSettings):
    """4,000 training and 1,000 test images of clothes, 28x28 grey, 10 classes in 5 superclasses (embedded)."""

    labels: Literal["fine", "superclass"]

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        train, test = self.counted(TRAIN, TEST)
        fine = self.labels == "fine"
        return DataInfo(
            kind="image",
            classes=CLASSES if fine else SUPERCLASSES,
            train=train,
            test=test,
            shape=self.shaped(1, SIDE),
            subclasses=() if fine else CLASSES,
            parents=() if fine else PARENTS,
            held_out=self.held_out(train),
        )

    def check(self) -> None:
        """Raise UserError if the embedded file is missing or damaged."""
        if not FILE.exists() or hashlib.sha256(FILE.read_bytes()).hexdigest() != SHA256:
            raise UserError(
                f"the embedded data file {FILE.name} is missing or damaged.\nTry: install unlearnbench again"
            )

    def load(self) -> ImageData:
        """Read the embedded images."""
        self.check()
        with np.load(io.BytesIO(lzma.decompress(FILE.read_bytes())), allow_pickle=False) as arrays:
            images, labels = arrays["images"][:, None], arrays["labels"].astype(np.int64)
        parents = None if self.labels == "fine" else np.array(PARENTS)
        train, test = (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])
        return image_data(self, self.info(), train, test, parents)
