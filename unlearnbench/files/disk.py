"""Explain full disks and unwritable places in one line, whichever library ran into them."""

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
    errno.EFBIG: "file too large for the file system or this process's limit",
}
"""Errors that only writing can raise."""
CLOSED = {errno.EROFS: "read-only file system", errno.EACCES: "permission denied", errno.EPERM: "permission denied"}
"""Errors that concern the disk only if the file is below the folder we write to."""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise Stopped, with one line, if the block fails because a folder is not writable."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Stopped) or (line := why(error, folder)) is None:
            raise
        raise Stopped(line) from error


def why(error: BaseException, folder: Path) -> str | None:
    """Return one line on why a folder is not writable, or None for another kind of error."""
    if isinstance(error, Stopped):
        return str(error)
    found = _refusal(error, folder) or next((one for one in map(_full, _chain(error)) if one), None)
    if found is None:
        return None
    reason, file = found
    place = folder if file is None or _is_below(file, folder) else file.parent
    return f"{reason} in {place}; finished work is kept, run the same command again to continue"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes: a library may raise another error when it closes the file."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _full(error: BaseException) -> tuple[str, Path | None] | None:
    """Return the reason and file if the error means a full disk.

    Rust libraries only say so in the text.
    """
    if isinstance(error, OSError):
        return (FULL[error.errno], _file(error)) if error.errno in FULL else None
    told = re.search(r"\(os error (\d+)\)", "" if isinstance(error, UserError) else str(error))
    return (FULL[int(told[1])], None) if told and int(told[1]) in FULL else None


def _refusal(error: BaseException, folder: Path) -> tuple[str, Path] | None:
    """Return the reason and file if the error means that a file below the folder is not writable."""
    if not isinstance(error, OSError) or error.errno not in CLOSED:
        return None
    file = _file(error)
    return (CLOSED[error.errno], file) if file is not None and _is_below(file, folder) else None


def _file(error: OSError) -> Path | None:
    return Path(str(error.filename)) if isinstance(error.filename, str) else None


def _is_below(file: Path, folder: Path) -> bool:
    return folder.absolute() in (file.absolute(), *file.absolute().parents)
