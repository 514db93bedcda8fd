"""Generated images for tests: a pattern per class plus noise; not for comparing methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from unlearnbench.contracts import DataInfo, Index
from unlearnbench.data.images import ImageData, ImageSettings, Pixels, image_data
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import MOST, Weight

MADE = 2**28
"""The most pixels in all images together."""


@dataclass(frozen=True, kw_only=True)
class Synthetic(ImageSettings):
    """Generated images of any size and number, learned in seconds; neighbouring classes share a superclass."""

    classes: Annotated[int, Field(ge=2, le=1000)]
    train: Annotated[int, Field(ge=20, le=MOST)]
    test: Annotated[int, Field(ge=20, le=MOST)]
    side: Annotated[int, Field(ge=4, le=256)]
    channels: Literal[1, 3]
    noise: Weight
    labels: Literal["fine", "superclass"]

    def __post_init__(self) -> None:
        values = (self.train + self.test + self.classes) * self.channels * self.side**2
        if values > MADE:
            raise ValueError(f"{values:,} pixels are too many, expected at most {MADE:,}. Try: fewer or smaller images")

    def info(self) -> DataInfo:
        """Describe the data set without generating it."""
        train, test = self.counted(self.train, self.test)
        fine = tuple(f"class{number}" for number in range(self.classes))
        if self.labels == "fine":
            return DataInfo(
                kind="image",
                classes=fine,
                train=train,
                test=test,
                shape=self.shaped(self.channels, self.side),
                held_out=self.held_out(train),
            )
        groups = tuple(f"group{number}" for number in range((self.classes + 1) // 2))
        return DataInfo(
            kind="image",
            classes=groups,
            train=train,
            test=test,
            shape=self.shaped(self.channels, self.side),
            subclasses=fine,
            parents=tuple(number // 2 for number in range(self.classes)),
            held_out=self.held_out(train),
        )

    def check(self) -> None:
        """Do nothing: the images are generated."""

    def load(self) -> ImageData:
        """Generate the images."""
        generator = np.random.default_rng(stage_seed(self.seed, "synthetic"))
        patterns = generator.uniform(64, 192, (self.classes, self.channels, self.side, self.side))

        def made(count: int) -> tuple[Pixels, Index]:
            labels = np.arange(count, dtype=np.int64) % self.classes
            noisy = patterns[labels] + generator.normal(0, self.noise, (count, *patterns.shape[1:]))
            return noisy.clip(0, 255).astype(np.uint8), labels

        parents = None if self.labels == "fine" else np.arange(self.classes) // 2
        return image_data(self, self.info(), made(self.train), made(self.test), parents)
