"""Zips: written so that equal content gives equal bytes, and read from strangers without trust.

A zip that is read may only hold plain files under plain names, not encrypted, stored or deflated. Nothing is written
but below the folder that the reader names, and no more than LARGEST times the zip's own size.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from unlearnbench.errors import UserError

LARGEST = 100
"""How many times its own size, and SLACK bytes, a zip may unpack to; ours unpack to two to ten times theirs."""
SLACK = 2**26
MEMBERS = 10**6
"""The most files in a zip; a run has about twenty."""
CHUNK = 2**20
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=,-]{0,199}(/[A-Za-z0-9_][A-Za-z0-9_.+@=,-]{0,199}){0,7}")
"""A name that can lead nowhere: no folder above, no drive, no hidden file."""


def write(target: Path, files: Mapping[str, Path | bytes], stored: Iterable[str] = ()) -> None:
    """Write files by their names into a zip, in the order of names and without times; `stored` are not compressed."""
    plain = set(stored)
    with ZipFile(target, "w", allowZip64=True) as packed:
        for name in sorted(files):
            info = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            info.compress_type = ZIP_STORED if name in plain else ZIP_DEFLATED
            content = files[name]
            if isinstance(content, bytes):
                packed.writestr(info, content)
                continue
            info.file_size = content.stat().st_size
            with content.open("rb") as source, packed.open(info, "w") as member:
                shutil.copyfileobj(source, member, CHUNK)


@contextmanager
def opened(file: Path) -> Iterator[tuple[ZipFile, dict[str, ZipInfo]]]:
    """Yield a zip and what it holds by name; raise UserError where it is not a zip, is cut short, or is refused."""
    try:
        packed = ZipFile(file)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.\nTry: the file's name") from error
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{file} is no zip, or was cut short ({error}).\nTry: copy it again from where it came"
        ) from error
    with packed:
        if why := _refused(packed.infolist(), file.stat().st_size):
            raise UserError(f"{file} is refused: {why}.\nTry: a bundle that unlearnbench report --bundle wrote")
        yield packed, {one.filename: one for one in packed.infolist()}


def _refused(members: list[ZipInfo], size: int) -> str:
    """Return why a zip with these members is not read, or ""."""
    if len(members) > MEMBERS:
        return f"it holds {len(members):,} files, more than {MEMBERS:,}"
    names = Counter(one.filename for one in members)
    if len(names) < len(members):
        return f"it holds {names.most_common(1)[0][0][:200]!r} twice"
    for one in members:
        if not PLAIN.fullmatch(one.filename):
            return f"{one.filename[:200]!r} is not a plain name of a file below the bundle's folder"
        mode = one.external_attr >> 16
        if one.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            return f"{one.filename!r} is a folder, a link or a device"
        if one.flag_bits & 1 or one.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            return f"{one.filename!r} is encrypted, or compressed in another way than by deflate"
    whole = sum(one.file_size for one in members)
    if whole > LARGEST * size + SLACK:
        return f"it would unpack to {whole:,} bytes, more than {LARGEST} times its own {size:,}"
    return ""


def content(packed: ZipFile, member: ZipInfo, limit: int) -> bytes:
    """Return a member's bytes; raise ValueError where it is damaged or larger than the limit."""
    if member.file_size > limit:
        raise ValueError(f"{member.filename} has {member.file_size:,} bytes, expected at most {limit:,}")
    return b"".join(_chunks(packed, member))


def unpack(packed: ZipFile, member: ZipInfo, target: Path) -> str:
    """Write a member into a new file and return its SHA-256; raise ValueError where it is damaged."""
    found = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for chunk in _chunks(packed, member):
            found.update(chunk)
            file.write(chunk)
    return found.hexdigest()


def _chunks(packed: ZipFile, member: ZipInfo) -> Iterator[bytes]:
    """Yield a member's content; zipfile reads no more than the size that the directory states."""
    try:
        with packed.open(member) as source:
            while chunk := source.read(CHUNK):
                yield chunk
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{member.filename} is damaged: {error or 'it is cut short'}") from error
