"""What is read from outside: regular files of a bounded size, in UTF-8 where they are text."""

from __future__ import annotations

import stat
from pathlib import Path

from unlearnbench.errors import UserError

MIB = 2**20


def size_of(file: Path, limit: int, name: str = "", remedy: str = "Try: another file") -> int:
    """Return a file's size in bytes; raise UserError if it is no regular file, empty, or larger than `limit`.

    A pipe or a device would be waited for, or read without end. `name` is what a user typed for it.
    """
    name = name or str(file)
    try:
        found = file.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"{name} cannot be read: {_reason(error)}.\n{remedy}") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise UserError(f"{name} is {what}, expected a file.\n{remedy}")
    if not found.st_size:
        raise UserError(f"{name} is empty.\n{remedy}")
    if found.st_size > limit:
        raise UserError(f"{name} has {_shown(found.st_size)}, and at most {_shown(limit)} are read of it.\n{remedy}")
    return found.st_size


def text_of(file: Path, limit: int, remedy: str = "Try: the file in UTF-8") -> str:
    """Return a file's text; raise UserError as `size_of` does (an empty file is an empty text), or where it is none."""
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
        raise UserError(f"{file}, line {line} is no text in UTF-8.\n{remedy}") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _shown(size: int) -> str:
    return f"{size / MIB:,.1f} MiB" if size >= MIB else f"{size:,} bytes"
