"""Read files from outside: regular files of limited size, and text only in UTF-8."""

from __future__ import annotations

import stat
from pathlib import Path

from unlearnbench.errors import UserError

MIB = 2**20


def size_of(file: Path, limit: int, name: str = "", remedy: str = "Try: another file") -> int:
    """Return a file's size in bytes.

    Raises UserError if it is not a regular file, empty, or larger than `limit`. Reading a pipe or a device could block
    or never end. `name` is what the user typed for it.
    """
    name = name or str(file)
    try:
        found = file.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"{name} cannot be read: {_reason(error)}.\n{remedy}") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise UserError(f"{name} is {what}; expected a file.\n{remedy}")
    if not found.st_size:
        raise UserError(f"{name} is empty.\n{remedy}")
    if found.st_size > limit:
        raise UserError(f"{name} has {_shown(found.st_size)}; at most {_shown(limit)} are read.\n{remedy}")
    return found.st_size


def text_of(file: Path, limit: int, remedy: str = "Try: the file in UTF-8") -> str:
    """Return a file's text, "" for an empty file.

    Raises UserError like `size_of`, or if it is not UTF-8.
    """
    if file.is_file() and not file.stat().st_size:
        return ""
    size_of(file, limit, remedy=remedy)
    try:
        content = file.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {_reason(error)}.\n{remedy}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line} is not text in UTF-8.\n{remedy}") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _shown(size: int) -> str:
    return f"{size / MIB:,.1f} MiB" if size >= MIB else f"{size:,} bytes"
