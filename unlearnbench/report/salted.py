"""Ids, salted and hashed: who holds the salt can show that an id is among them, and nobody else can find out.

Each id is HMAC-SHA-256 with the salt as its key (RFC 2104), in hexadecimal, and the list is sorted. Without the salt,
32 random bytes, ids cannot be guessed one after the other, however few there are.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnbench.errors import UserError
from unlearnbench.files.intake import MIB, text_of

BYTES = 32
_HEX = re.compile(rf"[0-9a-f]{{{2 * BYTES}}}")


def hashed(salt: bytes, ids: Iterable[str]) -> list[str]:
    """Return the hash of each id, sorted."""
    return sorted(hashed_one(salt, one) for one in ids)


def hashed_one(salt: bytes, name: str) -> str:
    """Return the hash of an id."""
    return hmac.new(salt, name.encode(errors="replace"), hashlib.sha256).hexdigest()


def fingerprint(values: Sequence[str]) -> str:
    """Return one digest for a whole list: the SHA-256 of its lines."""
    return hashlib.sha256("".join(f"{one}\n" for one in values).encode()).hexdigest()


def kept(file: Path) -> bytes:
    """Return the salt in a file, or write a new one there that only its owner can read."""
    if file.exists():
        return read(file)
    salt = secrets.token_bytes(BYTES)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as target:
        target.write(salt.hex() + "\n")
    return salt


def read(file: Path) -> bytes:
    """Return the salt in a file; raise UserError where it is not one."""
    found = text_of(file, MIB, "Try: the evidence.salt that was written beside the evidence").strip()
    if not _HEX.fullmatch(found):
        raise UserError(
            f"{file} is no salt: expected {2 * BYTES} hexadecimal digits.\n"
            "Try: the evidence.salt that was written beside the evidence"
        )
    return bytes.fromhex(found)


def read_ids(file: Path) -> list[str]:
    """Return the ids in a file, one a line; raise UserError where there are none."""
    lines = [line for line in text_of(file, 1024 * MIB).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{file} holds no ids.\nTry: a text file with one id a line")
    return lines
