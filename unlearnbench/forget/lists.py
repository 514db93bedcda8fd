"""Read lists of examples, and find each entry in a data set: by id, by path, or by position.

A list is text with one entry a line, where blank lines and lines that start with # are skipped, or a CSV file with a
column `id`, `path` or `position`. All entries of a list are of one kind. Ids win: if any entry is an id of the data
set, all must be; else the same for paths, then for positions.
"""

from __future__ import annotations

import bisect
import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np

from unlearnbench.contracts import Data, Index
from unlearnbench.errors import UserError, nearest
from unlearnbench.files.intake import MIB, text_of

By = Literal["id", "path", "position"]
Chosen = Literal["auto", "id", "path", "position"]
WAYS: tuple[By, ...] = get_args(By)
LARGEST = 256 * MIB
SHOWN = 10
"""The most entries that a message names."""
CLOSE = 0.75
"""How alike the names of two files are, from 0 to 1, for one to be suggested for the other."""
NEIGHBOURS = 1000
"""How many names, before and after an unknown one in alphabetical order, are compared with it."""

DIGITS = 18
"""The most digits of a position: longer numbers do not fit into 64 bits, and int() refuses very long ones."""

Found = dict[str, list[int]]
"""The positions of each entry that was found."""


@dataclass(frozen=True)
class Entries:
    """The entries of a list, each once, in the file's order.

    `what` is what the user typed for the file, `stem` the file's name without its ending, `by` the column that a table
    has the entries in, and `repeated` the entries of the lines that repeat an earlier one.
    """

    what: str
    stem: str
    names: tuple[str, ...]
    by: By | None
    repeated: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A digest of the entries and the column that a table has them in, in 8 digits; their order does not matter."""
        kind = [f"by {self.by}"] if self.by else []
        return hashlib.sha256("\n".join([*kind, *sorted(self.names)]).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Matched:
    """The positions of each entry of a list, and what kind of entries they are."""

    entries: Entries
    by: By
    found: Mapping[str, list[int]]

    @property
    def positions(self) -> Index:
        """All positions, sorted, each once."""
        every = [place for places in self.found.values() for place in places]
        return np.unique(np.array(every, dtype=np.int64))


def read(file: Path, key: str) -> Entries:
    """Read a list; `key` is the setting that names it.

    Raises UserError for a file that is missing, empty, too large or not UTF-8, or a table without a known column.
    """
    what = f"{key}={file}"
    remedy = f"Try: {key}=FILE, with one id, file name or position a line"
    text = text_of(file, LARGEST, remedy)
    by, names = _of_table(text, what) if file.suffix.lower() == ".csv" else (None, _of_lines(text))
    if not names:
        raise UserError(f"{what} has no entries.\n{remedy}")
    once = dict.fromkeys(names)
    left = Counter(names) - Counter(list(once))
    return Entries(what, file.stem[:60], tuple(once), by, tuple(left.elements()))


def _of_lines(text: str) -> list[str]:
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _of_table(text: str, what: str) -> tuple[By, list[str]]:
    """Return the entries of a CSV file, and the column that they are in."""
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        columns = [name.strip() for name in rows.fieldnames or ()]
        by = next((way for way in WAYS if way in columns), None)
        if by is None:
            raise UserError(
                f"{what}: expected a header with a column id, path or position; its first line has "
                f"{', '.join(columns[:5]) or 'nothing'}.\nTry: a first line `id`, or a .txt file without a header"
            )
        rows.fieldnames = columns
        cells = [(row[by] or "").strip() for row in rows]
    except csv.Error as error:
        raise UserError(f"{what} cannot be read as CSV: {error}.\nTry: one entry a line, in a .txt file") from error
    return by, [cell for cell in cells if cell]


def match(entries: Entries, chosen: Chosen, data: Data) -> Matched:
    """Find every entry of a list in a data set; raise UserError, naming them, if some are unknown."""
    ways = _ways(data)
    asked = entries.by if chosen == "auto" else chosen
    if asked is not None and asked not in ways:
        raise UserError(
            f"{entries.what}: this data set has no column {asked}, so entries cannot be found by {asked}.\n"
            f"Try: a list of {_or(ways)}s, with forget.by=auto"
        )
    tried = {way: find(entries.names) for way, find in ways.items() if asked in (None, way)}
    by = next((way for way in tried if tried[way]), asked)
    if by is None or len(tried[by]) < len(entries.names):
        raise _unknown(entries, by, ways, data)
    return Matched(entries, by, tried[by])


def _ways(data: Data) -> dict[By, Callable[[Sequence[str]], Found]]:
    """Return the ways in which entries can be found in a data set, ids first."""
    ways: dict[By, Callable[[Sequence[str]], Found]] = {}
    if "id" in data.columns:
        ways["id"] = lambda names: _same(names, _texts(data, "id"))
    if "path" in data.columns:
        ways["path"] = lambda names: _by_path(names, _texts(data, "path"))
    rows = len(data.unit)
    ways["position"] = lambda names: {
        name: [int(name)] for name in names if len(name) <= DIGITS and _is_number(name) and int(name) < rows
    }
    return ways


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _texts(data: Data, column: str) -> list[str]:
    return [str(value) for value in data.columns[column].tolist()]


def _same(names: Sequence[str], known: Sequence[str]) -> Found:
    """Return the positions of each name among the known ones."""
    wanted = set(names)
    found: Found = {}
    for place, name in enumerate(known):
        if name in wanted:
            found.setdefault(name, []).append(place)
    return found


def _by_path(names: Sequence[str], paths: Sequence[str]) -> Found:
    """Return the positions of each path, or of its end (such as the file's name) if only one path ends so.

    A path may also begin with the folder of the data, or any other folder, if it is the same one for the whole list.
    """
    clean = {name: _clean(name) for name in names}
    known = [_clean(path) for path in paths]
    wanted = set(clean.values())
    whole: Found = {}
    ends: dict[str, set[str]] = {}
    for place, path in enumerate(known):
        whole.setdefault(path, []).append(place)
        for end in _ends(path):
            if end in wanted:
                ends.setdefault(end, set()).add(path)
    found: Found = {}
    for name, path in clean.items():
        if path in whole:
            found[name] = whole[path]
        elif len(ends.get(path, ())) == 1:
            found[name] = whole[next(iter(ends[path]))]
    longer = {path: _known_end(path, whole) for name, path in clean.items() if name not in found and path not in ends}
    fronts = {path.removesuffix(end) for path, end in longer.items() if end}
    if len(fronts) == 1:
        front = fronts.pop()
        bare = {name: path.removeprefix(front) for name, path in clean.items() if path.startswith(front)}
        found |= {name: whole[path] for name, path in bare.items() if name not in found and path in whole}
    return found


def _clean(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _ends(path: str) -> Iterator[str]:
    """Yield the ends of a path, without its first folder, without its first two, and so on."""
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _known_end(path: str, whole: Mapping[str, object]) -> str | None:
    return next((end for end in _ends(path) if end in whole), None)


def _unknown(
    entries: Entries, by: By | None, ways: Mapping[By, Callable[[Sequence[str]], Found]], data: Data
) -> UserError:
    found = ways[by](entries.names) if by else {}
    unknown = [name for name in entries.names if name not in found]
    others = {way: len(find(unknown)) for way, find in ways.items() if way != by}
    total = {way: len(find(entries.names)) for way, find in ways.items() if way != by}
    way = max(total, key=lambda one: total[one], default=None)
    instead = f", or forget.by={way}, which finds {total[way]}" if way and total[way] > len(found) else ""
    known = sorted(set(_texts(data, by))) if by is not None and by in data.columns else []
    kind = by or _or(ways)
    said = f"{len(found)} of {len(entries.names)} entries match {'an' if kind[0] == 'i' else 'a'} {kind}"
    paths = sorted(set(_texts(data, "path"))) if "path" in data.columns else []
    hints = _Files(paths) if by in (None, "path") or known == paths else None
    shown = [
        _elsewhere(name, by, ways, data) or (hints.of(name) if hints else _hinted(name, known))
        for name in unknown[:SHOWN]
    ]
    mixed = " All entries of a list are of one kind." if found and any(others.values()) else ""
    return UserError(
        f"{entries.what}: {said} of this data set. Unknown: "
        f"{named(shown, len(unknown))}.{mixed}\n"
        f"Try: the list with these corrected or left out (dataset.limit leaves rows out too){instead}"
    )


def _elsewhere(name: str, by: By | None, ways: Mapping[By, Callable[[Sequence[str]], Found]], data: Data) -> str | None:
    """Return an unknown name with what else is known of it: another kind of entry, or a file that was left out."""
    other = next((way for way, find in ways.items() if way != by and find([name])), None)
    if by is not None and other is not None:
        return f"{name!r} (it is {'an' if other == 'id' else 'a'} {other})"
    left_out = [str(path) for path in getattr(data, "left_out", {})]
    return f"{name!r} (it was left out as corrupt)" if left_out and _by_path([name], left_out) else None


def _hinted(name: str, known: Sequence[str]) -> str:
    """Return an unknown name with the nearest known one; of other digits none: A17 and A18 are two people."""
    place = bisect.bisect(known, name)
    near = [one for one in known[max(place - NEIGHBOURS, 0) : place + NEIGHBOURS] if _digits(one) == _digits(name)]
    hint = nearest(name, near).strip().removeprefix("Did you").strip("?")
    return f"{name!r}" + (f" (did you{hint}?)" if hint else "")


class _Files:
    """The files of a data set by their names, whatever their case, with and without their endings."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.named: dict[str, list[str]] = {}
        self.stems: dict[str, list[str]] = {}
        for path in paths:
            last = _last(path)
            self.named.setdefault(last, []).append(path)
            self.stems.setdefault(PurePosixPath(last).stem, []).append(path)
        self.sorted = sorted(self.named)

    def of(self, name: str) -> str:
        """Return an unknown name with the file that was meant, if only one can be, or with how many it could be.

        A file of nearly this name is suggested only if no digit differs: IMG_2003 and IMG_2007 are two photos.
        """
        last = _last(name)
        stem = PurePosixPath(last).stem
        found = self.named.get(last) or self.stems.get(last) or self.stems.get(stem) or self._near(last)
        if len(found) > 1:
            return f"{name!r} ({len(found)} files have this name: write their paths)"
        return f"{name!r}" + (f" (did you mean {found[0]!r}?)" if found else "")

    def _near(self, last: str) -> list[str]:
        place = bisect.bisect(self.sorted, last)
        near = self.sorted[max(place - NEIGHBOURS, 0) : place + NEIGHBOURS]
        close = get_close_matches(last, [one for one in near if _digits(one) == _digits(last)], n=1, cutoff=CLOSE)
        return self.named[close[0]] if close else []


def _last(path: str) -> str:
    return _clean(path).rpartition("/")[2].lower()


def _digits(name: str) -> str:
    return "".join(character for character in name if character.isdigit())


def named(entries: Sequence[str], count: int = 0) -> str:
    """Return the first few entries as text, and how many more there are, of `count` if that is more."""
    left = max(len(entries), count) - SHOWN
    more = f", and {left} more" if left > 0 else ""
    return ", ".join(entries[:SHOWN]) + more


def _or(ways: Mapping[By, object]) -> str:
    return " or ".join(ways)
