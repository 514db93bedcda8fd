"""CIFAR-10 and CIFAR-100 through torchvision, from your own folder or downloaded on request.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images (2009).
"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import numpy as np

from unlearnbench.contracts import DataInfo
from unlearnbench.data.cifar_names import CIFAR10_CLASSES, CIFAR100_CLASSES, CIFAR100_PARENTS, CIFAR100_SUPERCLASSES
from unlearnbench.data.files import check_there
from unlearnbench.data.images import ImageData, ImageSettings, image_data
from unlearnbench.errors import UserError, nearest
from unlearnbench.files.home import cache_home
from unlearnbench.files.intake import MIB, size_of

TRAIN, TEST, SIDE = 50000, 10000, 32
LARGEST = 200 * MIB
"""The most bytes a file may have; the largest, CIFAR-100's training images, has 148 MiB."""


@dataclass(frozen=True, kw_only=True)
class Cifar(ImageSettings):
    """The settings that CIFAR-10 and CIFAR-100 share: where the files are, whether to download, what to keep.

    `classes` keeps only the images of these classes, named as `labels` says; null keeps all. `root` is the folder that
    holds `cifar-10-batches-py` or `cifar-100-python`, as for torchvision; null means a cache folder in the home.
    `download` null means: only if no root is given.
    """

    root: Path | None = field(metadata={"key": False})
    download: bool | None = field(metadata={"key": False})
    classes: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.classes is not None:  # the order makes no difference
            twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
            if twice:
                raise ValueError(f"classes lists {', '.join(twice)} more than once. Try: each class once")
            object.__setattr__(self, "classes", tuple(sorted(set(self.classes))))

    def folder(self) -> Path:
        """Return the folder to give to torchvision."""
        cache = cache_home()
        return self.root or cache / "unlearnbench" / "data"

    def check(self) -> None:
        """Raise UserError if files are damaged, or missing and not downloadable."""
        kind, name = self._torchvision()
        base = self.folder() / kind.base_folder
        files = _official(kind)
        missing = [file for file, _ in files if not (base / file).exists()]
        if missing and len(missing) < len(files):
            raise UserError(f"{base} lacks {', '.join(missing)}.\nTry: unpack the official archive of {name} again")
        if missing:
            self._fetch(kind, name)
        for file, md5 in files:  # before unpickling anything: only the official files have these sums
            remedy = f"Try: delete it and unpack the official archive of {name} again"
            size_of(base / file, LARGEST, remedy=remedy)
            if hashlib.md5((base / file).read_bytes(), usedforsecurity=False).hexdigest() != md5:
                raise UserError(f"{base / file} is damaged: its MD5 is not the official {md5}.\n{remedy}")

    def files(self) -> dict[str, Path]:
        """Return the files that `load` reads; their content is part of the run's key."""
        kind, _ = self._torchvision()
        return {file: self.folder() / kind.base_folder / file for file, _ in _official(kind)}

    def info(self) -> DataInfo:
        """Describe the data set without reading it; raise UserError for an unknown class."""
        fine, classes, parents = self._names()
        kept = self._kept()
        train, test = self.counted(TRAIN * len(kept) // len(fine), TEST * len(kept) // len(fine))
        used = sorted({parents[label] for label in kept})
        coarse = len(classes) < len(fine)
        return DataInfo(
            kind="image",
            classes=tuple(classes[label] for label in used),
            train=train,
            test=test,
            shape=self.shaped(3, SIDE),
            subclasses=tuple(fine[label] for label in kept) if coarse else (),
            parents=tuple(used.index(parents[label]) for label in kept) if coarse else (),
            held_out=self.held_out(train),
        )

    def load(self) -> ImageData:
        """Read the official files; superclasses keep the fine labels beside them."""
        info = self.info()
        return image_data(
            self, info, self._arrays(True), self._arrays(False), np.array(info.parents) if info.parents else None
        )

    def _kept(self) -> tuple[int, ...]:
        """Return the fine labels to keep, numbered as in the files."""
        fine, classes, parents = self._names()
        wanted = classes if self.classes is None else self.classes
        for name in wanted:
            if name not in classes:
                below = f" {name} is part of {classes[parents[fine.index(name)]]}." if name in fine else ""
                hint = below or nearest(name, classes)
                shown = ", ".join(classes[:20]) + (f" ... ({len(classes)} in all)" if len(classes) > 20 else "")
                raise UserError(
                    f"dataset.classes: unknown class {name!r}.{hint}\nThe classes are: {shown}.\n"
                    f"Try: 'dataset.classes=[{classes[0]},{classes[1]}]', or dataset.classes=null for all"
                )
        if len(wanted) < 2:
            raise UserError(
                f"dataset.classes=[{','.join(wanted)}]: expected at least two classes.\n"
                f"Try: 'dataset.classes=[{classes[0]},{classes[1]}]', or dataset.classes=null for all"
            )
        return tuple(label for label in range(len(fine)) if classes[parents[label]] in wanted)

    def _fetch(self, kind: Any, name: str) -> None:
        allowed = self.download if self.download is not None else self.root is None
        place = self.folder()
        if not allowed:
            check_there(self.root)
            if place.name == kind.base_folder:
                raise UserError(
                    f"dataset.root={place} is {kind.base_folder} itself; expected the folder that holds it.\n"
                    f"Try: dataset.root={place.parent}"
                )
            raise UserError(
                f"dataset.root={place} has no {kind.base_folder}, the official files of {name}.\n"
                "Try: dataset.root=FOLDER, the folder that holds it, or dataset.download=true"
            )
        try:
            kind(str(place), train=True, download=True)
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"{name} is not in {place} and cannot be downloaded: no network ({error}).\n"
                f"Try: dataset.root=FOLDER with {kind.base_folder} in it, or dataset=fashion, which needs no network"
            ) from error

    def _arrays(self, train: bool) -> tuple[Any, Any]:
        kind, name = self._torchvision()
        try:
            read = kind(str(self.folder()), train=train, download=False)
        except (RuntimeError, OSError, pickle.UnpicklingError) as error:
            raise UserError(f"{name} cannot be read from {self.folder()}: {error}") from error
        kept, targets = np.array(self._kept()), np.asarray(read.targets, dtype=np.int64)
        rows = np.isin(targets, kept)
        return np.ascontiguousarray(read.data[rows].transpose(0, 3, 1, 2)), np.searchsorted(kept, targets[rows])

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
        """Return the names of the fine labels and of the trained classes, and each fine label's class."""
        raise NotImplementedError

    def _torchvision(self) -> tuple[Any, str]:
        raise NotImplementedError


def _official(kind: Any) -> list[tuple[str, str]]:
    """Return the name and MD5 of each file that torchvision reads."""
    return [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]


@dataclass(frozen=True, kw_only=True)
class Cifar10(Cifar):
    """50,000 training and 10,000 test photographs, 32x32 in colour, 10 classes."""

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
        return CIFAR10_CLASSES, CIFAR10_CLASSES, tuple(range(10))

    def _torchvision(self) -> tuple[Any, str]:
        from torchvision.datasets import CIFAR10

        return CIFAR10, "CIFAR-10"


@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """50,000 training and 10,000 test photographs, 32x32 in colour, 100 classes in 20 superclasses."""

    labels: Literal["fine", "superclass"]

    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
        if self.labels == "fine":
            return CIFAR100_CLASSES, CIFAR100_CLASSES, tuple(range(100))
        return CIFAR100_CLASSES, CIFAR100_SUPERCLASSES, CIFAR100_PARENTS

    def _torchvision(self) -> tuple[Any, str]:
        from torchvision.datasets import CIFAR100

        return CIFAR100, "CIFAR-100"
