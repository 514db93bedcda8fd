"""What data sets of decoded photos share: settings, the split by seed, copies in two splits, files that are corrupt."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from unlearnbench.contracts import DataInfo, Index
from unlearnbench.data.images import ImageData, ImageSettings
from unlearnbench.data.listing import TEST, TRAIN, UNSAID, VALIDATION, Listing, listed
from unlearnbench.data.mapped import MappedImages
from unlearnbench.data.pixels import Pixels
from unlearnbench.data.sampling import balanced
from unlearnbench.errors import UserError, counted
from unlearnbench.files import trees
from unlearnbench.files.home import cache_home

log = logging.getLogger("unlearnbench")

PATIENCE = 5.0
"""A set is looked at again once this many times the seconds of the last look have passed: a sweep asks for each run."""


@dataclass(frozen=True, kw_only=True)
class DecodedSettings(ImageSettings):
    """The settings of every data set whose images are decoded into a cache.

    Images are cropped and resized to `size` x `size` with `channels` (3 colours, or 1 grey). `test` is the share to
    hold out if the data has no test split, as `validation` if it has no validation split. `corrupt` refuses files that
    are not sound images, or skips them; `duplicates` refuses images that are in two splits, drops those outside the
    later split (test after validation after train), or allows them. `in_memory` keeps all images on the device, or
    reads batches from the cache; null: whatever fits into a quarter of its free memory. `cache` is the folder for
    decoded images; null: one in your home.
    """

    size: Annotated[int, Field(ge=8, le=1024)]
    channels: Literal[1, 3]
    test: Annotated[float, Field(gt=0, lt=0.9)]
    corrupt: Literal["refuse", "skip"]
    duplicates: Literal["refuse", "drop", "allow"]
    in_memory: bool | None = field(metadata={"key": False})
    cache: str | None = field(metadata={"key": False})

    def info(self) -> DataInfo:
        """Describe the data set; decode what nobody has decoded before. Raises UserError for what is wrong with it."""
        return self._parts(look=True).info

    def check(self) -> None:
        """Raise UserError if something is wrong with the data."""
        self._parts()

    def tree(self) -> Path | None:
        """Return the folder that the data come from, if it is there: any change in it may change them."""
        raise NotImplementedError

    def tree_before(self) -> str | None:
        """Return the stamp of `tree` from just before the files were listed; None if nobody has looked.

        A file that appears while others are decoded is not in the data, so it must not be in the stamp either.
        """
        known = _looked.get(self._name())
        return known[1].stamp if known is not None else None

    def content(self) -> str:
        """Return a digest of the images, labels, splits and columns, for use in keys."""
        return self._parts().content

    def load(self) -> ImageData:
        """Return the images, which stay in their file until somebody asks for them."""
        return self._parts().data()

    def place(self) -> Path:
        """Return the folder for decoded images."""
        home = cache_home()
        return Path(self.cache) if self.cache is not None else home / "unlearnbench" / "images"

    def shape(self) -> tuple[int, int, int]:
        """Return the shape of a decoded image; raise UserError if other settings do not fit it."""
        if self.channels == 1 and len(self.mean) == len(self.std) == 3:
            raise UserError(
                "dataset.channels=1 needs one mean and one std.\n"
                "Try: dataset.channels=1 'dataset.mean=[0.449]' 'dataset.std=[0.226]'"
            )
        return self.shaped(self.channels, self.size)

    def _parts(self, look: bool = False) -> Parts:
        """Return the data set in parts; `look` asks whether it has changed, unless that was done a moment ago."""
        name = self._name()
        known = _looked.get(name)
        if known is not None and (not look or time.monotonic() < known[0]):
            return known[1]
        began = time.monotonic()
        tree = self.tree()
        stamp = trees.stamp(tree) if tree is not None and tree.is_dir() else None
        listing = self._list()
        seconds = time.monotonic() - began
        same = known is not None and known[1].listing == listing
        parts = known[1] if known is not None and same else Parts(self, listing, self._decode(listing))
        parts.stamp = stamp
        _looked[name] = (time.monotonic() + PATIENCE * seconds, parts)
        return parts

    def _name(self) -> str:
        return f"{self} in {self.place()}"

    def _list(self) -> Listing:
        """Return what there is."""
        raise NotImplementedError

    def _decode(self, listing: Listing) -> Pixels:
        """Return its pixels."""
        raise NotImplementedError


class Parts:
    """A data set in parts: `rows` are those of the listing that are used, training rows first, then test rows.

    `stamp` is that of the folder from just before it was listed.
    """

    stamp: str | None = None

    def __init__(self, settings: DecodedSettings, listing: Listing, pixels: Pixels) -> None:
        self.settings, self.listing, self.pixels = settings, listing, pixels
        good = np.array([row for row in range(len(listing.entries)) if row not in pixels.reasons], np.int64)
        if settings.corrupt == "refuse":
            self._refuse_corrupt()
        self.classes = listing.classes or _classes([listing.labels[row] for row in good])
        number = {name: label for label, name in enumerate(self.classes)}
        self.labels: Index = np.array([number.get(label, -1) for label in listing.labels], np.int64)
        self.copies = _firsts(pixels.digests, good)
        self.train, self.validation, self.test = self._split(good)
        self.rows: Index = np.concatenate([np.union1d(self.train, self.validation), self.test])
        self._check_classes()

    @cached_property
    def info(self) -> DataInfo:
        """What is known of the data set."""
        return DataInfo(
            kind="image",
            classes=self.classes,
            train=len(self.train) + len(self.validation),
            test=len(self.test),
            shape=self.settings.shape(),
            columns=tuple(self.columns),
            held_out=len(self.validation),
        )

    @cached_property
    def columns(self) -> dict[str, NDArray[np.generic]]:
        """What is known of each image, (n,): its id and path, and the manifest's columns."""
        listing, rows = self.listing, self.rows.tolist()
        own = {name: values[self.rows] for name, values in listing.columns.items()}
        return {
            "id": np.array([listing.ids[row] for row in rows], np.str_),
            "path": np.array([listing.entries[row].name for row in rows], np.str_),
            **own,
        }

    @cached_property
    def content(self) -> str:
        """A digest of all that `data` returns."""
        found = hashlib.sha256(repr((self.classes, self.settings.shape())).encode())
        for part in (self.train, self.validation, self.test, self.labels[self.rows], self.pixels.digests[self.rows]):
            found.update(np.ascontiguousarray(part).tobytes() + b"\n")
        for name, values in self.columns.items():
            found.update(f"{name}\n".encode(errors="surrogateescape") + values.tobytes() + str(values.dtype).encode())
        return found.hexdigest()

    def data(self) -> ImageData:
        """Return the data set."""
        rows, split = self.rows, len(self.train) + len(self.validation)
        held = np.isin(rows[:split], self.validation)
        listing, reasons = self.listing, self.pixels.reasons
        return ImageData(
            info=self.info,
            images=MappedImages(self.pixels.map, rows, self.settings.in_memory),
            labels=self.labels[rows],
            subclass=self.labels[rows],
            train=np.flatnonzero(~held),
            validation=np.flatnonzero(held),
            test=np.arange(split, len(rows)),
            columns=self.columns,
            prints=self.pixels.digests[rows],
            copies=_firsts(self.pixels.digests[rows], np.arange(len(rows))),
            left_out={listing.entries[row].name: reason for row, reason in sorted(reasons.items())},
        )

    def _refuse_corrupt(self) -> None:
        reasons = self.pixels.reasons
        if reasons:
            lines = [f"{self.listing.entries[row].name}: {reason}" for row, reason in sorted(reasons.items())]
            raise UserError(
                f"{len(lines)} of {len(self.listing.entries)} files are not sound images:\n{listed(lines)}\n"
                "Try: mend or remove them, or dataset.corrupt=skip to leave them out"
            )

    def _split(self, good: Index) -> tuple[Index, Index, Index]:
        """Return the rows for training, validation and testing: as the data says, or drawn by seed, within limits."""
        settings, splits = self.settings, self.listing.splits[good]
        train = good[(splits == UNSAID) | (splits == TRAIN)]
        validation, test = good[splits == VALIDATION], good[splits == TEST]
        train, validation = self._without_copies(train, validation, test)
        if not len(test):
            test = self._drawn(train, max(round(settings.test * len(train)), 1), "test")
            train = np.setdiff1d(train, test)
        train = train[balanced(self.labels[train], settings.limit or len(train), settings.seed, "limit")]
        test = test[balanced(self.labels[test], settings.limit_test or len(test), settings.seed, "limit_test")]
        if not len(validation) and settings.validation:
            validation = self._drawn(train, settings.held_out(len(train)), "validation")
            train = np.setdiff1d(train, validation)
        return train, validation, test

    def _drawn(self, rows: Index, count: int, name: str) -> Index:
        """Draw rows, balanced over the classes; copies of one image go together, so that none is in two parts."""
        copies = self.copies[rows]
        firsts = rows[np.unique(copies, return_index=True)[1]]
        drawn = firsts[balanced(self.labels[firsts], min(count, len(firsts) - 1), self.settings.seed, name)]
        return rows[np.isin(copies, self.copies[drawn])]

    def _without_copies(self, train: Index, validation: Index, test: Index) -> tuple[Index, Index]:
        """Return the rows for training and validation; refuse or drop copies of what is in a later part."""
        later = np.concatenate([validation, test])
        bad = np.isin(self.copies[train], self.copies[later])
        bad_validation = np.isin(self.copies[validation], self.copies[test])
        twice = np.concatenate([train[bad], validation[bad_validation]])
        if not len(twice) or self.settings.duplicates == "allow":
            return train, validation
        lines = self._pairs(twice, later, test)
        if self.settings.duplicates == "refuse":
            raise UserError(
                f"{counted(len(lines), 'image is', 'images are')} in two splits, as a file or with the same pixels:\n"
                f"{listed(lines)}\n"
                "Try: dataset.duplicates=drop to leave out the first of each two, or dataset.duplicates=allow"
            )
        images = counted(len(lines), "image is", "images are")
        log.warning("%s in a later split too, and left out of the earlier:\n%s", images, listed(lines))
        return train[~bad], validation[~bad_validation]

    def _pairs(self, twice: Index, later: Index, test: Index) -> list[str]:
        """Name each image and its copy in a later split."""
        other = {int(self.copies[row]): int(row) for row in [*later.tolist(), *test.tolist()]}
        names = [entry.name for entry in self.listing.entries]
        return [f"{names[row]} = {names[other[int(self.copies[row])]]}" for row in twice.tolist()]

    def _check_classes(self) -> None:
        if len(self.classes) < 2:
            raise UserError(
                f"the data has one class, {', '.join(self.classes)}; a model needs at least two.\n"
                "Try: dataset.root=FOLDER, the folder that holds a folder for each class"
            )
        if odd := [name for name in self.classes if not name.isprintable()]:
            raise UserError(
                f"the label {odd[0]!a} has characters that cannot be shown.\nTry: another name for it, in plain letters"
            )
        if lost := sorted(set(self.listing.labels) - set(self.classes) - {""}):
            raise UserError(
                f"none of the files of these labels is a sound image: {', '.join(lost[:10])}.\n"
                "Try: photos for each of them, or without these labels"
            )
        missing = [name for label, name in enumerate(self.classes) if not (self.labels[self.train] == label).any()]
        if missing:
            raise UserError(
                f"these labels have no training images: {', '.join(missing[:10])}.\n"
                "Try: photos in train for each of them, a larger dataset.limit, or without these labels"
            )


_looked: dict[str, tuple[float, Parts]] = {}


def _classes(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the classes in order: of numbers if all are, else of the alphabet."""
    names = set(labels)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _firsts(digests: NDArray[np.bytes_], rows: Index) -> Index:
    """Return for each position the first of those rows with equal pixels, (n,) int64."""
    found: Index = np.arange(len(digests))
    _, first, inverse = np.unique(digests[rows], return_index=True, return_inverse=True)
    found[rows] = rows[first[inverse]]
    return found
