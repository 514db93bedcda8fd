"""Folders of small photos that tests share."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from unlearnbench.data.folder import Images
from unlearnbench.data.images import Augment

CLASSES = ("cat", "dog", "owl")


def photo(number: int, size: tuple[int, int] = (20, 14)) -> Image.Image:
    """Return a picture of noise, another one for each number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def fill(folder: Path, count: int, first: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
    """Write that many PNG files for each class."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            own = first + label * 1000 + number
            (folder / name / f"{number:03}.png").write_bytes(encoded(photo(own)))


def images(root: Path | None, cache: Path, **changes: object) -> Images:
    """Return the configuration of a folder of photos, as the YAML has it but smaller."""
    values: dict[str, object] = {
        "root": root, "metadata": None, "test": 0.2, "validation": 0.1, "limit": None, "limit_test": None, "size": 8,
        "channels": 3, "corrupt": "refuse", "duplicates": "refuse", "in_memory": None, "cache": str(cache),
        "mean": (0.5,) * 3, "std": (0.25,) * 3, "augment": Augment(crop=1, flip=True), "seed": 0,
    }  # fmt: skip
    return Images(**{**values, **changes})
