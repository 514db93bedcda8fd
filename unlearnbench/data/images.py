"""Image data sets in memory, all images numbered in one sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from unlearnbench.contracts import DataInfo, GivenSet, Index, Trigger
from unlearnbench.data.mapped import MappedImages
from unlearnbench.data.marks import Marks
from unlearnbench.data.sampling import balanced
from unlearnbench.errors import UserError
from unlearnbench.ranges import AnySeed, Limit, Number, Positive

Pixels = NDArray[np.uint8]
Area = Annotated[float, Field(gt=0, le=1)]
"""A share of an image's area."""


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random shifts by up to `crop` pixels (zeros come in from the border), mirroring, and less common changes.

    `flip` mirrors half the images, or with `alternate` each image every second epoch. `rotate` turns by up to this
    many degrees; `jitter` changes brightness, contrast and saturation by up to this share. `sharpen` is the share of
    images whose `sharpness` changes (0 blurs, 1 changes nothing, 2 sharpens). `erase` is the share of images that lose
    a rectangle: its share of the image lies within `erase_area`, and `erase_value` fills it after normalisation (0 is
    the mean, 1 is one standard deviation above it).
    """

    crop: Annotated[int, Field(ge=0, le=64)]
    flip: bool | Literal["alternate"]
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    sharpen: Annotated[float, Field(ge=0, le=1)] = 0.0
    sharpness: Annotated[float, Field(ge=0, le=100)] = 2.0
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0
    erase_area: tuple[Area, Area] = (0.02, 0.33)
    erase_value: Number = 0.0

    def __post_init__(self) -> None:
        if self.erase_area[0] > self.erase_area[1]:
            raise ValueError(f"erase_area must be [least, most], not {list(self.erase_area)}")


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """The settings of every image data set.

    `limit` takes a seeded, class-balanced subset of the training examples; `validation` is the share of them to hold
    out, which may be 0. `mean` and `std` normalise pixels in [0, 1] per channel; `size` resizes to size x size. `seed`
    draws the subset and the validation part; it is independent of the run's seed, so that all seeds of a sweep see the
    same examples.
    """

    limit: Limit | None
    limit_test: Limit | None
    validation: Annotated[float, Field(ge=0, lt=0.9)]
    size: Annotated[int, Field(ge=8, le=512)] | None
    mean: tuple[Number, ...]
    std: tuple[Positive, ...]
    augment: Augment
    seed: AnySeed

    def counted(self, train: int, test: int) -> tuple[int, int]:
        """Return the numbers of training and test examples within the limits."""
        return min(self.limit or train, train), min(self.limit_test or test, test)

    def held_out(self, train: int) -> int:
        """Return how many training examples go into the validation part."""
        return max(round(self.validation * train), 1) if self.validation else 0

    def shaped(self, channels: int, side: int) -> tuple[int, int, int]:
        """Return the shape of a model's input.

        Raises UserError for a mean, std or crop that does not fit it.
        """
        if not len(self.mean) == len(self.std) == channels:
            raise UserError(
                f"dataset.mean and dataset.std need {channels} value(s), one per channel, not {len(self.mean)} and "
                f"{len(self.std)}.\nTry: without these overrides"
            )
        if self.augment.crop > side // 2:
            raise UserError(
                f"dataset.augment.crop={self.augment.crop} is more than half of images of {side}x{side}.\n"
                f"Try: dataset.augment.crop={side // 8}"
            )
        return (channels, self.size or side, self.size or side)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A loaded image data set; contracts.Data describes the fields that are not of images alone.

    `images` are (n, c, h, w) uint8, in memory or in a mapped file. `prints` are the SHA-256 of each one's pixels, (n,)
    S32, where they are known already. `copies` (n,) is equal for images with equal pixels, if that was looked at.
    `left_out` says by path why files of the data set are not in it. `marks` says which images carry a patch: `images`
    and `prints` are without it, batches and fingerprints with it.
    """

    info: DataInfo
    images: Tensor | MappedImages
    labels: Index
    subclass: Index
    train: Index
    validation: Index
    test: Index
    columns: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    prints: NDArray[np.bytes_] | None = None
    copies: Index | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    marks: Marks | None = None

    same: ClassVar[Literal["copies", "twins"]] = "copies"
    corrected = None

    @cached_property
    def unit(self) -> Index:
        """Each image is its own unit, but for copies of one image; (n,) int64."""
        return np.arange(len(self.labels)) if self.copies is None else self.copies

    @property
    def cluster(self) -> Index:
        """Each unit is its own cluster, (n,) int64."""
        return self.unit

    @property
    def given(self) -> dict[str, GivenSet]:
        """Image data sets do not come with forget sets."""
        return {}

    def fingerprint(self, index: Index) -> str:
        """Return the SHA-256 of the images, labels and positions at `index`."""
        return hashlib.sha256(index.tobytes() + self._digests[index].tobytes()).hexdigest()

    def told(self, position: int) -> tuple[str, str]:
        """Return "" and the name of an image's class."""
        return "", self.info.classes[int(self.labels[position])]

    def pixels(self, position: int) -> Pixels:
        """Return an image with its patch, if any, (c, h, w)."""
        where = np.array([position])
        found = self.images.read(where) if isinstance(self.images, MappedImages) else self.images[where].clone()
        pixels: Pixels = (found if self.marks is None else self.marks.stamped(found, where))[0].numpy()
        return pixels

    def choices(self, index: Index) -> NDArray[np.bool_]:
        """Return that an image can have every class, (n, c)."""
        return np.ones((len(index), len(self.info.classes)), dtype=np.bool_)

    def manipulated(self, labels: Index, marked: Index, trigger: Trigger | None) -> ImageData:
        """Return this data set with other labels (n,), and with a trigger's patch in the images at `marked`."""
        marks = None if trigger is None else Marks(trigger, np.isin(np.arange(len(labels)), marked))
        view = replace(self, labels=labels, subclass=self.subclass if self.info.subclasses else labels, marks=marks)
        view.__dict__.update(_moved=self._moved, _kept=self._kept)  # the images themselves are shared
        return view

    def on(self, device: torch.device) -> Tensor:
        """Return all images on a device; all tasks there share them."""
        if device not in self._moved:
            images = self.images
            whole = self._read_whole(images) if isinstance(images, MappedImages) else images
            self._moved[device] = whole.to(device)
        return self._moved[device]

    def _read_whole(self, mapped: MappedImages) -> Tensor:
        """Read all images of a file; raise UserError if they are not what was written there."""
        whole = mapped.read(np.arange(len(mapped)))
        prints = np.array([hashlib.sha256(image).digest() for image in whole.numpy()], "S32")
        if self.prints is not None and not np.array_equal(prints, self.prints):
            raise UserError(f"{mapped.file} is damaged.\nTry: remove it; the images are decoded again")
        return whole

    def batch(self, index: Index, device: torch.device) -> Tensor:
        """Return the images at these positions on a device, (m, c, h, w) uint8."""
        apart = self._apart(device)
        images = self.on(device)[torch.from_numpy(index).to(device)] if apart is None else apart.batch(index, device)
        return images if self.marks is None else self.marks.stamped(images, index)

    def fetch(self, index: Index, device: torch.device) -> None:
        """Say which images are wanted next: those in a file are read in the background."""
        if len(index) and (apart := self._apart(device)) is not None:
            apart.fetch(index)

    def _apart(self, device: torch.device) -> MappedImages | None:
        """Return the images if they stay in their file."""
        if device not in self._kept:
            mapped = self.images if isinstance(self.images, MappedImages) else None
            self._kept[device] = None if mapped is None or mapped.fits(device) else mapped
        return self._kept[device]

    @cached_property
    def _moved(self) -> dict[torch.device, Tensor]:
        return {}

    @cached_property
    def _kept(self) -> dict[torch.device, MappedImages | None]:
        return {}

    @cached_property
    def _digests(self) -> NDArray[np.void]:
        """The SHA-256 of each image with its patch and label, (n,): read once, however many positions are asked for."""
        patches = [b""] * len(self.labels) if self.marks is None else self.marks.prints()
        rows = zip(self._contents(), patches, self.labels, strict=True)
        whole = (image + patch + label.tobytes() for image, patch, label in rows)
        return np.array([hashlib.sha256(one).digest() for one in whole], "V32")

    def _contents(self) -> Iterator[bytes]:
        """Yield each image's digest where it is known, else its pixels."""
        if self.prints is not None:
            yield from self.prints.tolist()
        else:
            assert isinstance(self.images, Tensor)
            yield from (image.tobytes() for image in self.images.numpy())


def image_data(
    settings: ImageSettings,
    info: DataInfo,
    train: tuple[Pixels, Index],
    test: tuple[Pixels, Index],
    parents: Index | None = None,
) -> ImageData:
    """Build a data set from raw pairs of images (n, c, h, w) uint8 and fine labels (n,).

    `parents` maps each fine label to its coarser label, if those are the labels to train on.
    """
    chosen = balanced(train[1], info.train, settings.seed, "limit")
    chosen_test = balanced(test[1], info.test, settings.seed, "limit_test")
    images = np.concatenate([train[0][chosen], test[0][chosen_test]])
    fine = np.concatenate([train[1][chosen], test[1][chosen_test]]).astype(np.int64)
    count = len(chosen)
    validation = balanced(fine[:count], settings.held_out(count), settings.seed, "validation")
    return ImageData(
        info=info,
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=fine if parents is None else parents[fine],
        subclass=fine,
        train=np.setdiff1d(np.arange(count), validation),
        validation=validation,
        test=np.arange(count, len(images)),
    )
