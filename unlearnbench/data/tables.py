"""Parquet and Arrow files with images inside, as a source of pixels: what is in them, and how it is read."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unlearnbench.data.columns import typed
from unlearnbench.data.decoding import LARGEST, decoded
from unlearnbench.data.files import AS_PUBLISHED, COLUMNS, ROWS, TABLE, written_out
from unlearnbench.data.listing import SPLITS, UNSAID, Listing
from unlearnbench.data.pixels import Digests, Shape
from unlearnbench.errors import UserError, nearest
from unlearnbench.files.digests import known_digest
from unlearnbench.files.trees import Entry, entry_of, files_below

if TYPE_CHECKING:
    from unlearnbench.data.shards import Hub

SUFFIXES = (".parquet", ".arrow")
GROUP = 2**32
"""The most bytes that a part of a table which is read at once may have."""
IMAGES, LABELS = ("image", "img", "picture", "photo"), ("label", "labels", "class", "fine_label", "target")
"""The names that image and label columns usually have."""
_SPLIT = re.compile(r"(?:^|[/_.-])(train|validation|valid|val|dev|test)(?=[/_.-])")


class Tables:
    """The tables of a folder, one after the other, as a source of pixels."""

    def __init__(self, settings: Hub) -> None:
        self.settings, self.folder = settings, settings.folder()
        self.files = _tables_in(self.folder, settings)
        self.tables = [_Table(file) for file in self.files]
        self.image, self.label = _columns(settings, self.tables[0].schema)
        self._check_columns()
        self.expanded = 0
        self.starts = np.cumsum([0, *(table.count for table in self.tables)])
        self.names = [f"{known_digest(file)}/{self.image}" for file in self.files]
        rows = zip(self.names, self.tables, strict=True)
        self.digests: Digests = np.array(
            [_digest(name, row) for name, table in rows for row in range(table.count)], "S32"
        )

    def _check_columns(self) -> None:
        """Raise UserError for a table without the columns of the first, or for too many rows."""
        for file, table in zip(self.files, self.tables, strict=True):
            needed = [self.image, self.label, *self.tables[0].plain()]
            if lacking := [name for name in dict.fromkeys(needed) if name not in table.schema.names]:
                raise UserError(
                    f"{file} has no column {lacking[0]}, and {self.files[0].name} has; it has "
                    f"{', '.join(table.schema.names)}.\nTry: tables with the same columns, or dataset.subset=FOLDER"
                )
        if (count := sum(table.count for table in self.tables)) > ROWS:
            raise UserError(f"{self.folder} has {count:,} rows; at most {ROWS:,} are read.\n{AS_PUBLISHED}")

    def read(self, row: int) -> tuple[bytes, Any]:
        """Return a digest of a row's place, and the file in its image column."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        own = row - int(self.starts[number])
        content = self.tables[number].cell(own, self.image)
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise ValueError("has no image inside the table")
        if len(content) > LARGEST:
            raise ValueError(f"has {len(content):,} bytes; at most {LARGEST:,} are read")
        return _digest(self.names[number], own), content

    def decoded(self, content: Any, shape: Shape) -> NDArray[np.uint8]:
        """Decode an image."""
        return decoded(content, shape[1], shape[0])

    def listing(self) -> Listing:
        """List the rows with their labels, splits and plain columns."""
        entries, splits = [], []
        for file, table in zip(self.files, self.tables, strict=True):
            name = file.relative_to(self.folder).as_posix()
            found = entry_of(str(file), name)
            entries += [found._replace(name=f"{name}#{row}") for row in range(table.count)]
            splits += [_split_of(name)] * table.count
        columns = {name: self._column(name) for name in self.tables[0].plain() if name != self.label}
        labels, names = self._column(self.label), self.tables[0].classes(self.label)
        self._refuse_unlabelled(labels, entries)
        words = [names[label] if names else str(label) for label in labels]
        ids = [str(one) for one in columns.pop("id", [])]
        paths = [entry.name for entry in entries]
        unique = len(ids) == len(set(ids)) > 0 and all(ids)
        known = set(words)
        return Listing(
            entries,
            words,
            np.array(splits, np.int8),
            ids if unique else paths,
            {name: np.array(typed(values)) for name, values in columns.items() if name != "path"},
            tuple(name for name in names if name in known) if names else None,
        )

    def _column(self, name: str) -> list[Any]:
        """Return all values of a column; raise UserError where the columns read so far are too large."""
        for file, table in zip(self.files, self.tables, strict=True):
            self.expanded += table.expanded(name, TABLE - self.expanded)
            if self.expanded > TABLE:
                raise UserError(
                    f"{file}: the columns beside the images, up to {name}, hold more than {TABLE:,} bytes, too many.\n"
                    f"{AS_PUBLISHED}"
                )
        return [value for table in self.tables for value in table.column(name)]

    def _refuse_unlabelled(self, labels: Sequence[Any], entries: Sequence[Entry]) -> None:
        names = self.tables[0].classes(self.label)
        for entry, label in zip(entries, labels, strict=True):
            sound = 0 <= label < len(names) if names and isinstance(label, int) else isinstance(label, (int, str))
            if not sound or label == "":
                raise UserError(
                    f"{self.folder}/{entry.name} has the label {label!r}; expected a class.\n"
                    "Try: dataset.label=COLUMN, another column, or the data without that row"
                )


class _Table:
    """One Parquet or Arrow file; a part of it is in memory at a time."""

    def __init__(self, file: Path) -> None:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]

        self.file, self.lock, self.held = file, threading.Lock(), (-1, None)
        try:
            if file.suffix == ".arrow":
                self.arrow = _mapped(file)
                self.schema, counts = self.arrow.schema, [self.arrow.num_rows]
            else:
                self.reader = parquet.ParquetFile(file)
                groups = [self.reader.metadata.row_group(number) for number in range(self.reader.num_row_groups)]
                if groups and max(group.total_byte_size for group in groups) > GROUP:
                    raise ValueError("a row group of more than 4 GiB")
                self.schema, counts = self.reader.schema_arrow, [group.num_rows for group in groups]
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{file} cannot be read: {reason}\nTry: the file as published by its authors") from error
        if len(self.schema.names) > COLUMNS:
            raise UserError(
                f"{file} has {len(self.schema.names):,} columns; at most {COLUMNS:,} are read.\n{AS_PUBLISHED}"
            )
        self.starts = np.cumsum([0, *counts])
        self.count = int(self.starts[-1])

    def expanded(self, name: str, most: int, groups: Sequence[int] | None = None) -> int:
        """Return a column's size in bytes with every repeated value written out; stop to add up beyond `most`.

        `groups` are the row groups to look at, all if None.
        """
        size = 8 * self.count if groups is None else 0  # what a number needs
        for column in self._parts(name, groups):
            try:
                size += written_out(column)
            except ValueError as error:
                raise UserError(f"{self.file}, column {name}: {error}, which is not read.\n{AS_PUBLISHED}") from error
            if size > most:
                break
        return size

    def _parts(self, name: str, groups: Sequence[int] | None) -> Iterator[Any]:
        """Yield a column in parts, with each repeated value once."""
        import pyarrow.parquet as parquet

        if self.file.suffix == ".arrow":
            yield self.arrow.column(name)
            return
        held = self.reader.metadata
        columns = [held.schema.column(place) for place in range(held.num_columns)]
        own = [one.path for one in columns if one.path.split(".")[0] == name and one.physical_type == "BYTE_ARRAY"]
        reader = parquet.ParquetFile(self.file, read_dictionary=own)
        groups = range(held.num_row_groups) if groups is None else groups
        for batch in reader.iter_batches(10_000, row_groups=list(groups), columns=[name]):
            yield batch.column(0)

    def column(self, name: str) -> list[Any]:
        """Return all values of a column."""
        table = self.arrow if self.file.suffix == ".arrow" else self.reader.read(columns=[name])
        values: list[Any] = table.column(name).to_pylist()
        return values

    def cell(self, row: int, name: str) -> Any:
        """Return one value of a column; neighbours are read with it."""
        if self.file.suffix == ".arrow":
            return self.arrow.column(name)[row].as_py()
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        with self.lock:
            if self.held[0] != group:
                if self.expanded(name, GROUP, [group]) > GROUP:
                    raise ValueError(f"is in a row group whose images have more than {GROUP:,} bytes")
                self.held = (group, self.reader.read_row_group(group, columns=[name]).column(name))
            held: Any = self.held[1]
        return held[row - int(self.starts[group])].as_py()

    def plain(self) -> Iterator[str]:
        """Yield the names of the columns that hold one word, number or truth value in each row."""
        from pyarrow import types

        for one in self.schema:
            if any(test(one.type) for test in (types.is_integer, types.is_floating, types.is_boolean, _is_text)):
                yield one.name

    def features(self) -> dict[str, Any]:
        """Return what the hub's library noted about the columns."""
        try:
            found = json.loads((self.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        except (ValueError, KeyError, TypeError):
            return {}
        return {name: one for name, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}

    def classes(self, name: str) -> list[str] | None:
        """Return the names of a column's classes, if they are known."""
        names = self.features().get(name, {}).get("names")
        plain = isinstance(names, list) and len(names) > 1 and all(isinstance(one, str) for one in names)
        return names if plain and len(set(names)) == len(names) else None


def _mapped(file: Path) -> Any:
    """Return an Arrow file's table; raise ValueError where it is compressed and grows far beyond the file."""
    import pyarrow

    parts, size, most = [], 0, max(GROUP, 2 * file.stat().st_size)
    reader = pyarrow.ipc.open_stream(pyarrow.memory_map(str(file)))
    for part in reader:
        parts.append(part)
        size += part.nbytes
        if size > most:
            raise ValueError(f"it holds more than {most:,} bytes")
    return pyarrow.Table.from_batches(parts, reader.schema)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _digest(name: str, row: int) -> bytes:
    return hashlib.sha256(f"{name}/{row}".encode()).digest()


def _split_of(name: str) -> int:
    """Return the split that a table's path names."""
    found = _SPLIT.search(name)
    word = {"valid": "val", "dev": "val"}.get(found[1], found[1]) if found else ""
    return SPLITS.get(word, UNSAID)


def _tables_in(folder: Path, settings: Hub) -> list[Path]:
    """Return the tables of one data set in a folder, sorted; raise UserError for none, or for several data sets."""
    names = [entry.name for entry in files_below(folder) if entry.name.endswith(SUFFIXES)] if folder.is_dir() else []
    if not names:
        raise UserError(
            f"dataset.path={settings.path} has no Parquet or Arrow files in {folder}.\n"
            "Try: a data set with images inside its tables, or dataset=images for a folder of photos"
        )
    above = sorted({name.partition("/")[0] for name in names if "/" in name})
    several = [name for name in above if _split_of(f"{name}/") == UNSAID and name != "data"]
    if len(several) > 1:
        raise UserError(
            f"dataset.path={settings.path} has several data sets: {', '.join(several[:20])}.\n"
            f"Try: dataset.subset={several[0]}"
        )
    return [folder / name for name in names]


def _columns(settings: Hub, schema: Any) -> tuple[str, str]:
    """Return the names of the image and the label column; raise UserError if it is not clear which they are."""
    table_names = list(schema.names)
    images = [one.name for one in schema if str(one.type).startswith(("struct<bytes:", "binary", "large_binary"))]
    chosen = []
    for key, given, usual, fitting in (
        ("image", settings.image, IMAGES, images),
        ("label", settings.label, LABELS, [name for name in LABELS if name in table_names]),
    ):
        if given is not None and given not in table_names:
            raise UserError(
                f"dataset.{key}: unknown column {given!r}.{nearest(given, table_names)}\n"
                f"The columns are: {', '.join(table_names)}.\nTry: dataset.{key}={(fitting or table_names)[0]}"
            )
        found = [name for name in usual if name in fitting] or fitting
        if given is None and len(found) != 1 and not (found and found[0] in usual):
            raise UserError(
                f"dataset.path={settings.path}: no column is plainly the {key}.\n"
                f"The columns are: {', '.join(table_names)}.\nTry: dataset.{key}=COLUMN"
            )
        chosen.append(given or found[0])
    return chosen[0], chosen[1]
