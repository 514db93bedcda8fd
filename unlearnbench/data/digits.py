"""Handwritten digits that come with scikit-learn: 1,797 real images of 8x8 pixels.

Alpaydin, Kaynak: Optical Recognition of Handwritten Digits (1998), UCI Machine Learning Repository, CC BY 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unlearnbench.contracts import DataInfo
from unlearnbench.data.images import ImageData, ImageSettings, image_data
from unlearnbench.data.sampling import balanced

TRAIN, TEST, SIDE = 1437, 360, 8
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class Digits(ImageSettings):
    """1,437 training and 360 test images of handwritten digits, 8x8 grey (scikit-learn's)."""

    def info(self) -> DataInfo:
        """Describe the data set without reading it."""
        train, test = self.counted(TRAIN, TEST)
        return DataInfo(
            kind="image",
            classes=CLASSES,
            train=train,
            test=test,
            shape=self.shaped(1, SIDE),
            held_out=self.held_out(train),
        )

    def check(self) -> None:
        """Do nothing: the images are part of scikit-learn."""

    def load(self) -> ImageData:
        """Read the images from scikit-learn; the test set is always the same."""
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        pixels = (images.reshape(-1, 1, SIDE, SIDE) * (255 / 16)).round().astype(np.uint8)
        labels = labels.astype(np.int64)
        test = balanced(labels, TEST, 0, "digits test")
        train = np.setdiff1d(np.arange(len(labels)), test)
        return image_data(self, self.info(), (pixels[train], labels[train]), (pixels[test], labels[test]))
