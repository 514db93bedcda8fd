"""Images in hand: tensors or torch's data sets, as the data of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.contracts import DataInfo, Index
from unlearnbench.data.images import Augment, ImageData, ImageSettings
from unlearnbench.errors import UserError
from unlearnbench.machine.precision import resolve
from unlearnbench.python.bound import Bound, Normalise, Options
from unlearnbench.python.models import ImageModel, classes_of, image_parts
from unlearnbench.python.settings import settings_of
from unlearnbench.tasks.image import ImageTask

PLAIN = Augment(crop=0, flip=False)
SCORE_BATCH = 500


class FloatTask(ImageTask):
    """Images that are floats: they are what the model sees, and nothing is normalised."""

    @cached_property
    def _scaling(self) -> tuple[Tensor, Tensor]:
        """Multiply by 1 and take off 0."""
        return torch.ones(1, device=self.device), torch.zeros(1, device=self.device)

    @property
    def span(self) -> tuple[Tensor, Tensor]:
        """The lowest and highest value in the images, by channel: floats have no black and white."""
        images = self.data.on(self.device)
        return images.amin(dim=(0, 2, 3), keepdim=True), images.amax(dim=(0, 2, 3), keepdim=True)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images (n, c, h, w) uint8 or float32 and their labels (n,) int64, on the CPU."""

    images: Tensor
    labels: Index


def bind(model: nn.Module, examples: Mapping[str, object], options: Options) -> Bound:
    """Return the examples of each split bound to the model; raise UserError for what does not fit together."""
    read = {name: pictures(name, given) for name, given in examples.items()}
    shape, floats = _alike(read)
    classes = classes_of(model, shape)
    for name, one in read.items():
        if one.labels.min() < 0 or one.labels.max() >= classes:
            wrong = int(one.labels.min() if one.labels.min() < 0 else one.labels.max())
            raise UserError(f"{name}: the label {wrong} is outside 0 to {classes - 1}, the model's {classes} classes.")
    settings = _settings(shape[0], floats, options.normalise, options.augment)
    spec = ImageModel(model=model, named=image_parts(model, classes, options.named), fresh=options.fresh)
    precision = resolve(options.precision, options.device, "", max(shape))
    data, splits = _joined(read, classes, shape)
    task = (FloatTask if floats else ImageTask)(data, settings, precision, spec.parts().head, SCORE_BATCH)
    return Bound(
        task=task, info=data.info, spec=spec, precision=precision, splits=splits, labels=data.labels, twins=None
    )


def pictures(name: str, given: object) -> Pictures:
    """Return images and labels from a pair of arrays, or from a data set that is read once, in order."""
    images, labels = _arrays(name, given)
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise UserError(
            f"{name}: expected images of shape (n, channels, height, width), uint8 or float, got "
            f"{tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}."
        )
    if labels.shape != (len(images),) or labels.is_floating_point() or labels.dtype == torch.bool:
        raise UserError(
            f"{name}: expected {len(images)} whole numbers as labels, one per image, got {tuple(labels.shape)} "
            f"{str(labels.dtype).removeprefix('torch.')}."
        )
    if not len(images):
        raise UserError(f"{name} is empty.")
    if images.is_floating_point():
        images = images.float()
        if not bool(images.isfinite().all()):
            raise UserError(f"{name}: some pixels are NaN or infinite.")
    return Pictures(images.contiguous(), labels.to(torch.int64).numpy())


def _arrays(name: str, given: object) -> tuple[Tensor, Tensor]:
    """Return tensors on the CPU from a pair of arrays or a data set."""
    pair = getattr(given, "tensors", given)
    if isinstance(pair, (tuple, list)) and len(pair) == 2 and all(hasattr(one, "shape") for one in pair):
        images, labels = (torch.as_tensor(one).detach().cpu() for one in pair)
        return images, labels
    listed = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    if not listed or isinstance(given, (str, Mapping, Tensor, np.ndarray)):
        raise UserError(
            f"{name}: expected a pair (images, labels) or a torch Dataset, got {type(given).__name__}.\n"
            f"Try: {name}=(images, labels), tensors of shapes (n, c, h, w) and (n,)"
        )
    return _stacked(name, given)


def _stacked(name: str, dataset: Any) -> tuple[Tensor, Tensor]:
    """Read a data set once, in order."""
    rows = [dataset[number] for number in range(len(dataset))]
    if not all(isinstance(row, (tuple, list)) and len(row) == 2 for row in rows):
        raise UserError(f"{name}: each element of the data set must be a pair (image, label).")
    if not all(isinstance(image, (Tensor, np.ndarray)) for image, _ in rows):
        kind = next(type(image).__name__ for image, _ in rows if not isinstance(image, (Tensor, np.ndarray)))
        raise UserError(
            f"{name}: the data set returns images as {kind}, expected tensors.\n"
            "Try: transform=torchvision.transforms.PILToTensor() for the data set"
        )
    images = [torch.as_tensor(image).detach().cpu() for image, _ in rows]
    if len({(tuple(image.shape), image.dtype) for image in images}) > 1:
        raise UserError(f"{name}: the images have different shapes or types.\nTry: a transform that resizes them")
    stacked = torch.stack(images) if images else torch.zeros(0, 1, 1, 1)
    return stacked, torch.tensor([int(label) for _, label in rows], dtype=torch.int64)


def _alike(read: Mapping[str, Pictures]) -> tuple[tuple[int, int, int], bool]:
    """Return the shape of all images, and whether they are floats; raise UserError if the splits differ."""
    kinds = {name: (_shape(one.images), one.images.is_floating_point()) for name, one in read.items()}
    (first, kind), *others = kinds.items()
    for name, other in others:
        if other != kind:
            shown = [f"{shape} {'float' if floats else 'uint8'}" for shape, floats in (kind, other)]
            raise UserError(f"{first} has images of {shown[0]}, but {name} has images of {shown[1]}.")
    shape, floats = kind
    return shape, floats


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width


def _settings(
    channels: int, floats: bool, normalise: Normalise | None, augment: Augment | Mapping[str, object] | None
) -> ImageSettings:
    """Return how to normalise and augment: floats are what the model sees, bytes need a mean and deviation."""
    if floats and normalise is not None:
        raise UserError("normalise is for uint8 images; floats are given to the model as they are.")
    if not floats and normalise is None:
        raise UserError(
            "the images are uint8, so say how the model's input is normalised.\n"
            "Try: normalise=([0.5], [0.25]), the mean and deviation by channel of pixels in [0, 1], or float images"
        )
    mean, std = normalise if normalise is not None else ([0.0] * channels, [1.0] * channels)
    if not len(mean) == len(std) == channels or not all(value > 0 for value in std):
        raise UserError(f"normalise: expected {channels} means and {channels} positive deviations, one per channel.")
    chosen = PLAIN if augment is None else settings_of(Augment, augment, "augment")
    if floats and (chosen.rotate or chosen.jitter or chosen.sharpen):
        raise UserError(
            "augment: rotate, jitter and sharpen need uint8 images.\nTry: crop, flip and erase, or uint8 images"
        )
    return ImageSettings(
        limit=None, limit_test=None, validation=0.1, size=None, mean=tuple(map(float, mean)),
        std=tuple(map(float, std)), augment=chosen, seed=0,
    )  # fmt: skip


def _joined(
    read: Mapping[str, Pictures], classes: int, shape: tuple[int, int, int]
) -> tuple[ImageData, dict[str, Index]]:
    """Return all images in one sequence, and the positions of each split."""
    ends = np.cumsum([0, *(len(one.labels) for one in read.values())])
    splits = {name: np.arange(ends[place], ends[place + 1]) for place, name in enumerate(read)}
    nothing = np.arange(0)
    train = np.concatenate([splits.get("retain", nothing), splits["forget"]])
    labels = np.concatenate([one.labels for one in read.values()])
    test = splits.get("test", nothing)
    info = DataInfo(
        kind="image", classes=tuple(map(str, range(classes))), train=len(train), test=len(test), shape=shape
    )
    data = ImageData(
        info=info,
        images=torch.cat([one.images for one in read.values()]),
        labels=labels,
        subclass=labels,
        train=train,
        validation=splits.get("validation", nothing),
        test=test,
    )
    return data, splits
