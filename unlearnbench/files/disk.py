"""Full disks and places that can no longer be written: one line, whichever library met them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unlearnbench.errors import Stopped, UserError

FULL = {
    errno.ENOSPC: "no space left on device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "file too large: the file system, or this process's limit, allows no larger one",
}
"""What only writing can raise."""
CLOSED = {errno.EROFS: "read-only file system", errno.EACCES: "permission denied", errno.EPERM: "permission denied"}
"""What says something about the disk only of a file below the folder that is written."""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise Stopped, one line, where the block cannot go on writing below a folder."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Stopped) or (line := why(error, folder)) is None:
            raise
        raise Stopped(line) from error


def why(error: BaseException, folder: Path) -> str | None:
    """Return the line that says why nothing more can be written below a folder; None where an error says no such."""
    if isinstance(error, Stopped):
        return str(error)
    found = _refusal(error, folder) or next((one for one in map(_full, _chain(error)) if one), None)
    if found is None:
        return None
    reason, file = found
    place = folder if file is None or _is_below(file, folder) else file.parent
    return f"{reason} in {place}; what is finished is kept, the same command goes on from there"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it came from: a library that closes its file raises another one on the way."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _full(error: BaseException) -> tuple[str, Path | None] | None:
    """Return the reason and the file of an error that says that the disk is full; Rust's say it in their text."""
    if isinstance(error, OSError):
        return (FULL[error.errno], _file(error)) if error.errno in FULL else None
    told = re.search(r"\(os error (\d+)\)", "" if isinstance(error, UserError) else str(error))
    return (FULL[int(told[1])], None) if told and int(told[1]) in FULL else None


def _refusal(error: BaseException, folder: Path) -> tuple[str, Path] | None:
    """Return the reason and the file of an error that says that a file below the folder may not be written."""
    if not isinstance(error, OSError) or error.errno not in CLOSED:
        return None
    file = _file(error)
    return (CLOSED[error.errno], file) if file is not None and _is_below(file, folder) else None


def _file(error: OSError) -> Path | None:
    return Path(str(error.filename)) if isinstance(error.filename, str) else None


def _is_below(file: Path, folder: Path) -> bool:
    return folder.absolute() in (file.absolute(), *file.absolute().parents)
