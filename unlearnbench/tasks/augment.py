"""Augment a batch of images on the device.

Each image gets its own random draw, all from one generator.

Shift and mirror are as usual for CIFAR. The rest follows torchvision, which draws once for a whole batch:
RandomRotation, ColorJitter, RandomAdjustSharpness and RandomErasing (Zhong et al. 2020, arXiv:1708.04896). Alternating
flip is from Jordan: 94% on CIFAR-10 in 3.29 Seconds on a Single GPU (2024), section 3.6, arXiv:2404.00498.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unlearnbench.data.images import Augment

GREY = (0.299, 0.587, 0.114)
ERASED_RATIO = (0.3, 3.3)
MIXER = 0x45D9F3B
"""The odd multiplier of a 32-bit hash."""


def moved(images: Tensor, index: Tensor, augment: Augment, generator: torch.Generator, epoch: int, seed: int) -> Tensor:
    """Shift and mirror images (n, c, h, w) uint8 in one indexing operation.

    `index` (n,) are their positions. Each epoch seeds a new `generator`; `seed` is the same in all epochs of a
    training.
    """
    if not augment.crop and not augment.flip:
        return images
    count, (height, width), device = len(images), images.shape[-2:], images.device
    rows, columns = torch.arange(height).expand(count, -1), torch.arange(width).expand(count, -1)
    if augment.flip:
        mirrored = _mirrored(index, augment, generator, epoch, seed)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    if augment.crop:
        shift = torch.randint(0, 2 * augment.crop + 1, (2, count, 1), generator=generator)
        rows, columns = rows + shift[0], columns + shift[1]
        images = functional.pad(images, (augment.crop,) * 4)
    rows, columns = rows.to(device), columns.to(device)
    example = torch.arange(count, device=device)[:, None, None]
    return images[example, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def coloured(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Rotate images (n, c, h, w) float32 in [0, 255], jitter their colours and sharpen."""
    if augment.rotate:
        images = _rotated(images, augment.rotate, generator)
    if augment.jitter:
        images = _jittered(images, augment.jitter, generator)
    if augment.sharpen:
        images = _sharpened(images, augment.sharpen, augment.sharpness, generator)
    return images


def erased(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Fill a random rectangle of some of the normalised images (n, c, h, w), in place.

    Returns them.
    """
    if not augment.erase:
        return images
    count, (height, width) = len(images), images.shape[-2:]
    low, high = (math.log(value) for value in ERASED_RATIO)
    area = height * width * _uniform(count, *augment.erase_area, generator)
    ratio = _uniform(count, low, high, generator).exp()
    tall, wide = (area * ratio).sqrt().clamp(1, height), (area / ratio).sqrt().clamp(1, width)
    rows, columns = _stretch(tall, height, generator), _stretch(wide, width, generator)
    chosen = torch.rand(count, generator=generator) < augment.erase
    hole = rows[:, None, :, None] & columns[:, None, None, :] & chosen[:, None, None, None]
    return images.masked_fill_(hole.to(images.device), augment.erase_value)


def _mirrored(index: Tensor, augment: Augment, generator: torch.Generator, epoch: int, seed: int) -> Tensor:
    """Return which images to mirror, (n,) bool: a random half, or each image every second epoch."""
    if augment.flip == "alternate":
        return (_hashed(index, seed) + epoch) % 2 == 0  # the hash decides in which epoch it starts
    return torch.rand(len(index), generator=generator) < 0.5


def _hashed(index: Tensor, seed: int) -> Tensor:
    """Return a number below 2^16 for each position (n,) int64, which depends on the seed."""
    mixed = index ^ (seed ^ seed >> 32) % 2**32
    for _ in range(2):
        mixed = (mixed >> 16 ^ mixed) * MIXER % 2**32
    return mixed >> 16


def _rotated(images: Tensor, degrees: float, generator: torch.Generator) -> Tensor:
    angle = _uniform(len(images), -degrees, degrees, generator).deg2rad()
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros(len(images))
    turn = torch.stack([torch.stack([cos, -sin, none], 1), torch.stack([sin, cos, none], 1)], 1).to(images.device)
    grid = functional.affine_grid(turn, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _jittered(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Blend with black (brightness), mean grey (contrast) and grey (saturation), in order."""
    factors = _uniform(3 * len(images), 1 - strength, 1 + strength, generator)
    brightness, contrast, saturation = factors.to(images.device).view(3, -1, 1, 1, 1)
    images = (images * brightness).clamp(0, 255)
    images = torch.lerp(_grey(images).mean(dim=(2, 3), keepdim=True), images, contrast).clamp(0, 255)
    return torch.lerp(_grey(images), images, saturation).clamp(0, 255)


def _sharpened(images: Tensor, share: float, factor: float, generator: torch.Generator) -> Tensor:
    """Blend some images with a copy smoothed by a 3x3 filter.

    A factor above 1 moves away from the copy.
    """
    chosen = (torch.rand(len(images), generator=generator) < share).to(images.device)
    if min(images.shape[-2:]) < 3:
        return images
    channels = images.shape[1]
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5.0
    smooth = images.clone()
    kernel = (kernel / kernel.sum()).expand(channels, 1, 3, 3)
    smooth[..., 1:-1, 1:-1] = functional.conv2d(images, kernel, groups=channels)
    changed = torch.lerp(smooth, images, factor).clamp(0, 255)
    return torch.where(chosen[:, None, None, None], changed, images)


def _grey(images: Tensor) -> Tensor:
    """Return the luma (n, 1, h, w) of images (n, c, h, w).

    An image with one channel is already grey.
    """
    if images.shape[1] != len(GREY):
        return images.mean(dim=1, keepdim=True)
    return (images * torch.tensor(GREY, device=images.device).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _stretch(length: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Place a stretch of that length at random.

    Returns which pixels of the side it covers, (n, side) bool.
    """
    start = (side - length) * torch.rand(len(length), generator=generator)
    pixels = torch.arange(side) + 0.5
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
