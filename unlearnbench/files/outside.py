"""The files from outside that a run reads: which they are, and whether they still are what they were.

A configuration names them in fields of type Path, or by `files()`. A folder that it is given counts by the names in it:
a file that appears there may be read too. One that it names by `tree()` counts by the names, sizes, times and
inodes of all files below, which are too many to read again.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unlearnbench.files import trees
from unlearnbench.files.digests import seen, stamp_of

Looked = dict[str, dict[str, Any]]
"""By path, as JSON: a file's `sha256` and `stamp`, a folder's `names`, or the `tree` stamp of all below it."""


def look(configuration: object) -> Looked:
    """Return what every outside file and folder of a typed configuration holds now."""
    found = {str(place): place for place in places(configuration)}
    whole = dict(_trees(configuration))
    pointers = {str(pointer): pointer for place in [*found.values(), *whole] for pointer in _pointers(place)}
    deep = {str(place): {"tree": stamp or trees.stamp(place)} for place, stamp in whole.items()}
    flat = {name: _look(place) for name, place in sorted({**found, **pointers}.items()) if name not in deep}
    return {**flat, **deep}


def joined(several: Iterable[Looked]) -> Looked:
    """Return what the parts of a configuration hold, together; what is said of all below a folder comes first."""
    found: Looked = {}
    for one in several:
        found |= {name: seen for name, seen in one.items() if "tree" not in found.get(name, ())}
    return found


def places(value: object) -> Iterator[Path]:
    """Yield the files that a configuration's numbers depend on, and the folders in which it looks for files."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            entry = getattr(value, field.name)
            if field.metadata.get("key", True) or (isinstance(entry, Path) and entry.is_dir()):
                yield from places(entry)
        yield from _read_by(value)
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from places(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from places(entry)
    elif isinstance(value, Path):
        yield value


def _trees(value: object) -> Iterator[tuple[Path, str | None]]:
    """Yield the folders of which a configuration may read any file, and their stamps from before it read them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _trees(getattr(value, field.name))
        if callable(tree := getattr(value, "tree", None)) and (folder := tree()) is not None:
            before = getattr(value, "tree_before", None)
            yield folder, before() if callable(before) else None
    elif isinstance(value, (Mapping, list, tuple)):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _trees(entry)


def _read_by(configuration: Any) -> Iterator[Path]:
    """Yield the files that a configuration says it reads, and their folders below one that it names."""
    files = list(files_of(configuration).values())
    entries = [getattr(configuration, field.name) for field in dataclasses.fields(configuration)]
    roots = [entry for entry in entries if isinstance(entry, Path)]
    yield from files
    yield from {file.parent for file in files if any(root in file.parent.parents for root in roots)}


def files_of(configuration: object) -> Mapping[str, Path]:
    """Return the files that a configuration says it reads, by the names that go into keys; their places do not."""
    files = getattr(configuration, "files", None)
    return files() if callable(files) else {}


def renewed(looked: Mapping[str, Mapping[str, Any]]) -> Looked | None:
    """Return what was looked at with today's stamps, or None where anything of it is other than it was.

    A file whose stamp is the same is not read.
    """
    fresh: Looked = {}
    for name, was in looked.items():
        try:
            now = _look(Path(name), was)
        except OSError:
            return None
        if any(now.get(what) != was.get(what) for what in ("sha256", "names", "tree")):
            return None
        fresh[name] = now
    return fresh


def _look(place: Path, was: Mapping[str, Any] | None = None) -> dict[str, Any]:
    if was and "tree" in was:
        return {"tree": trees.stamp(place)}
    if place.is_dir():
        return {"names": sorted(os.listdir(place))}
    if was and was.get("stamp") == list(stamp_of(place)):
        return dict(was)
    found = seen(place)
    return {"sha256": found.sha256, "stamp": list(found.stamp) if found.stamp else None}


def _pointers(file: Path) -> Iterator[Path]:
    """Yield what in a hub's cache says which copy is used: a snapshot's references, the folder of tables' versions."""
    if file.suffix == ".arrow":
        yield file.parent.parent
    for folder in file.parents:
        if folder.name == "snapshots":
            yield from sorted(found for found in (folder.parent / "refs").rglob("*") if found.is_file())
