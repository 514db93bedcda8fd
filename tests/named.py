"""Generated images with ids, paths and columns, as a manifest gives them, and lists of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unlearnbench.contracts import DataInfo, GivenSet, Index
from unlearnbench.forget.listed import Listed
from worlds import synthetic


@dataclass(frozen=True, eq=False)
class Named:
    """What a forget set sees of images with columns."""

    info: DataInfo
    labels: Index
    train: Index
    validation: Index
    test: Index
    columns: dict[str, np.ndarray]
    corrected: Index | None = None
    copies: Index | None = None
    same = "copies"

    @property
    def subclass(self) -> Index:
        return self.labels

    @property
    def unit(self) -> Index:
        return np.arange(len(self.labels)) if self.copies is None else self.copies

    @property
    def cluster(self) -> Index:
        return self.unit

    @property
    def given(self) -> dict[str, GivenSet]:
        return {}

    def fingerprint(self, index: Index) -> str:
        return str(index.tolist())


def images(**columns: np.ndarray) -> Named:
    """Return images with an id and a path each: cat/1.jpg, dog/2.jpg ... in train and validation, test/240.jpg ..."""
    data = synthetic().load()
    count = len(data.labels)
    paths = [f"{'test' if place >= 240 else 'cat' if place % 2 else 'dog'}/{place}.jpg" for place in range(count)]
    known = {"id": np.array([f"photo-{place}" for place in range(count)]), "path": np.array(paths), **columns}
    return Named(data.info, data.labels, data.train, data.validation, data.test, known)


def listed(folder: Path, text: str, name: str = "ids.txt", **changes: object) -> Listed:
    """Return the forget set of a list with this text, written into a folder."""
    file = folder / name
    file.write_text(text)
    return Listed(**{"file": file, "by": "auto", "whole_pairs": False, **changes})
