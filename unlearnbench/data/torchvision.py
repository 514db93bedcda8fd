"""Any of torchvision's data sets that give each image one label, by the name of its class."""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.decoded import DecodedSettings
from unlearnbench.data.decoding import limited, opened, squared
from unlearnbench.data.files import check_there
from unlearnbench.data.listing import TEST, TRAIN, UNSAID, VALIDATION, Listing
from unlearnbench.data.pixels import Digests, Pixels, Shape, pixels_of
from unlearnbench.errors import UserError, nearest
from unlearnbench.files import leftovers, stored, trees
from unlearnbench.files.home import cache_home
from unlearnbench.ranges import Label

UNSAFE = ("LSUN", "LSUNClass")
"""These load pickles from their folder without a checksum, which may run code."""
OURS = ("root", "transform", "target_transform", "transforms", "loader", "is_valid_file", "download", "train")
"""Arguments that `options` cannot set."""
PARTS = {TRAIN: ("train", "trainval", "train-standard"), VALIDATION: ("val", "valid"), TEST: ("test",)}
"""What torchvision calls the splits."""


@dataclass(frozen=True, kw_only=True)
class Torchvision(DecodedSettings):
    """A labelled image data set of torchvision by its class, such as Flowers102; decoded once into a cache.

    `root` is the folder to give to torchvision; null means a cache folder in the home. `download` lets torchvision
    fetch the files. `options` are further arguments of the class. Where there is no test split, that for validation
    counts as test.
    """

    name: str | None
    root: Path | None = field(metadata={"key": False})
    download: bool = field(metadata={"key": False})
    options: Mapping[str, bool | Label | str]

    def folder(self) -> Path:
        """Return the folder to give to torchvision."""
        home = cache_home()
        return self.root or home / "unlearnbench" / "data"

    def tree(self) -> Path | None:
        """Return the folder that the data come from: any change in it may change them."""
        return self.folder() if self.folder().is_dir() else None

    def _list(self) -> Listing:
        kind = self._kind()
        if not self.download:
            check_there(self.root)
        try:
            kept = stored.mapping(self._note())
        except (OSError, ValueError):  # none yet, or damaged
            parts = self._opened(kind)
            samples = _Samples(self._key(), _names(parts), lambda: parts)
            self._pixels(samples, np.zeros(len(samples.names), "S32"))
            kept = samples.facts()
            self._note().parent.mkdir(parents=True, exist_ok=True)
            leftovers.replace(self._note(), json.dumps(kept))
        return _listing(kept, self._key())

    def _decode(self, listing: Listing) -> Pixels:
        samples = _Samples(self._key(), listing.ids, lambda: self._opened(self._kind()))
        return self._pixels(samples, samples.known)

    def _pixels(self, samples: _Samples, known: Digests) -> Pixels:
        samples.digests = known
        return pixels_of(samples, self.shape(), self.place() / "pixels", f"decoding {len(known):,} images")

    def _key(self) -> str:
        """Return a digest of the class, its options and the files in its folder: what decides the samples here."""
        folder = self.folder()
        files = trees.stamp(folder) if folder.is_dir() else ""
        return hashlib.sha256(json.dumps([self.name, dict(self.options), files], sort_keys=True).encode()).hexdigest()

    def _note(self) -> Path:
        return self.place() / "index" / f"torchvision-{self._key()[:32]}.json"

    def _kind(self) -> Any:
        """Return torchvision's class; raise UserError for a name or options that cannot be used."""
        from torchvision import datasets

        names = (name for name in datasets.__all__ if name != "VisionDataset")
        known = [name for name in names if "root" in _arguments(getattr(datasets, name))]
        if self.name not in known or self.name in UNSAFE:
            why = " It loads files that may run code." if self.name in UNSAFE else nearest(str(self.name), known)
            raise UserError(
                f"dataset.name={self.name or 'null'}: expected a class of torchvision.datasets.{why}\n"
                "Try: dataset.name=Flowers102, or dataset.name=SVHN"
            )
        kind = getattr(datasets, str(self.name))
        if bad := [name for name in self.options if name in OURS]:
            raise UserError(f"dataset.options cannot set {bad[0]}.\nTry: dataset.options={{}}, or another argument")
        return kind

    def _opened(self, kind: Any) -> dict[int, Any]:
        """Return torchvision's data set of each split."""
        arguments = _arguments(kind)
        if "train" in arguments:
            return {part: self._sure(kind, train=part == TRAIN) for part in (TRAIN, TEST)}
        if "split" not in arguments or "split" in self.options:
            return {UNSAID: self._sure(kind)}
        found = {}
        for part, names in PARTS.items():
            for name in names:
                try:
                    found[part] = self._made(kind, split=name)
                    break
                except ValueError as error:  # torchvision's word for a split that it does not have
                    reason = error
        if TRAIN not in found:
            raise UserError(f"dataset.name={self.name} has no split for training: {reason}\nTry: another class")
        if TEST not in found or not _is_labelled(found[TEST]):
            found.pop(TEST, None)
            if VALIDATION in found:
                found[TEST] = found.pop(VALIDATION)
        return found

    def _sure(self, kind: Any, **split: object) -> Any:
        """Return torchvision's data set; raise UserError for options that it does not take, too."""
        try:
            return self._made(kind, **split)
        except ValueError as error:
            raise UserError(
                f"dataset.name={self.name}: {error}\nTry: dataset.options={{}}, or another value"
            ) from error

    def _made(self, kind: Any, **split: object) -> Any:
        """Return torchvision's data set; raise UserError where its files are not there."""
        words = {**self.options, **split}
        if "download" in _arguments(kind):
            words["download"] = self.download
        if "loader" in _arguments(kind):
            words["loader"] = _loader_for(kind)
        try:
            return kind(str(self.folder()), **words)
        except TypeError as error:
            raise UserError(f"dataset.name={self.name}: {error}.\nTry: 'dataset.options={{NAME: VALUE}}'") from error
        except (RuntimeError, OSError, URLError, ImportError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"dataset.name={self.name} cannot be read from {self.folder()}: {reason}\n"
                "Try: dataset.root=FOLDER with the files as torchvision wants them, or dataset.download=true"
            ) from error


class _Samples:
    """Samples of torchvision's data sets by their `names`, such as 0/17 of the first split, as a source of pixels."""

    digests: Digests

    def __init__(self, key: str, names: Sequence[str], opened: Callable[[], Mapping[int, Any]]) -> None:
        self.key, self.names, self.opened = key, names, opened
        self.lock = threading.Lock()
        self.parts: Mapping[int, Any] | None = None
        self.labels: list[int | None] = [None] * len(names)

    @property
    def known(self) -> Digests:
        """What `read` will return as digests."""
        return np.array([_digest(self.key, name) for name in self.names], "S32")

    def read(self, row: int) -> tuple[bytes, Any]:
        """Return a digest of where a sample is from, and its image; note its label."""
        with self.lock:
            if self.parts is None:
                self.parts = self.opened()
        part, _, number = self.names[row].partition("/")
        try:
            image, label = _sample(self.parts[int(part)], int(number))
        except (OSError, ValueError, SyntaxError) as error:
            raise ValueError(str(error) or type(error).__name__) from error
        self.labels[row] = _label(label)
        return _digest(self.key, self.names[row]), image

    def decoded(self, content: Any, shape: Shape) -> NDArray[np.uint8]:
        """Return an image as pixels of this shape."""
        try:
            return squared(content, shape[1], shape[0])
        except (OSError, SyntaxError) as error:
            raise ValueError(str(error) or type(error).__name__) from error

    def facts(self) -> dict[str, Any]:
        """Return the facts about the samples to keep for the next time, as JSON."""
        names = getattr(next(iter((self.parts or {}).values())), "classes", None)
        plain = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
        return {"names": list(self.names), "labels": self.labels, "classes": list(names or ()) if plain else None}


def _names(parts: Mapping[int, Any]) -> list[str]:
    return [f"{part}/{number}" for part, one in parts.items() for number in range(len(one))]


def _listing(kept: Mapping[str, Any], key: str) -> Listing:
    labels, names, classes = kept["labels"], kept["names"], kept["classes"]
    used = sorted({label for label in labels if label is not None})
    if not classes or max(used, default=0) >= len(classes) or len(set(classes)) < len(classes):
        classes = [str(label) for label in range(max(used, default=0) + 1)]
    return Listing(
        entries=[trees.Entry(name, 0, int(key[:12], 16)) for name in names],
        labels=["" if label is None else classes[label] for label in labels],
        splits=np.array([int(name.partition("/")[0]) for name in names], np.int8),
        ids=names,
        classes=tuple(classes[label] for label in used),
    )


def _digest(key: str, name: str) -> bytes:
    return hashlib.sha256(f"{key}/{name}".encode()).digest()


def _arguments(kind: Any) -> set[str]:
    """Return the names of a class's arguments, of its base class too where it passes them on."""
    if not inspect.isclass(kind):
        return set()
    found = inspect.signature(kind.__init__).parameters
    names = set(found)
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in found.values()):
        names |= {name for base in kind.__bases__ for name in _arguments(base)}
    return names


def _loader_for(kind: Any) -> Callable[[str], Any]:
    """Return what opens a file in place of torchvision's loader, which reads all formats of Pillow.

    Where a class has a loader of its own it converts to RGB, as that does.
    """
    own = inspect.signature(kind.__init__).parameters.get("loader")
    return opened if own is not None and own.default is None else _in_colour


def _in_colour(file: str) -> Any:
    return opened(file).convert("RGB")


def _sample(samples: Any, number: int) -> Any:
    """Return a sample; whatever way the class opens its image, only our formats are read."""
    if getattr(samples, "loader", None) in (opened, _in_colour):
        return samples[number]
    with limited():
        return samples[number]


def _is_labelled(samples: Any) -> bool:
    return len(samples) > 0 and _label(_sample(samples, 0)[1], refuse=False) is not None


def _label(label: Any, refuse: bool = True) -> int | None:
    """Return a sample's label; raise UserError for anything but one number."""
    if isinstance(label, (int, np.integer)) and not isinstance(label, bool):
        return int(label)
    if not refuse:
        return None
    raise UserError(
        f"this data set has {type(label).__name__} for labels; expected one class for each image.\n"
        "Try: another dataset.name, such as Flowers102"
    )
