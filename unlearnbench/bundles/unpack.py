"""Unpack a bundle into a folder of runs, whoever made it; what is damaged is named and left out."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile, ZipInfo

from unlearnbench.bundles.manifest import LIMIT, NAME, RUNS, Manifest, read, run_of
from unlearnbench.errors import UserError
from unlearnbench.files import zips

Problem = tuple[str, str]
"""A path in the bundle, and what is wrong there."""


@dataclass(frozen=True)
class Unpacked:
    """The sound runs of a bundle in a folder, and what is wrong with the others; `sha256` is that of bundle.json."""

    root: Path
    manifest: Manifest
    sha256: str
    problems: tuple[Problem, ...]

    @property
    def runs(self) -> Path:
        """The folder of the runs."""
        return self.root / RUNS

    @property
    def sound(self) -> list[Path]:
        """The folders of the runs of which every file is as it was packed."""
        bad = {run_of(path) for path, _ in self.problems}
        return [self.runs / name for name in self.manifest.runs if name not in bad]


@contextmanager
def unpacked(bundle: Path) -> Iterator[Unpacked]:
    """Yield a bundle, unpacked for the moment; raise UserError where the file is none, or is refused."""
    with TemporaryDirectory(prefix="unlearnbench-") as place, zips.opened(bundle) as (packed, members):
        root = Path(place)
        if NAME not in members:
            raise UserError(
                f"{bundle} is no bundle: it has no {NAME}.\nTry: a file that unlearnbench report --bundle wrote"
            )
        try:
            content = zips.content(packed, members[NAME], LIMIT)
            manifest = read(content)
        except ValueError as error:
            raise UserError(f"{bundle} is no sound bundle: {error}.\nTry: copy it again from where it came") from error
        needed, free = sum(one.file_size for one in members.values()), shutil.disk_usage(root).free
        if needed > free:
            raise UserError(
                f"{bundle} unpacks to {needed:,} bytes, and {root.parent} has {free:,} left.\n"
                "Try: TMPDIR=FOLDER with more room"
            )
        problems = tuple(_unpack(packed, members, manifest, root))
        found = Unpacked(root, manifest, hashlib.sha256(content).hexdigest(), problems)
        for bad in {run_of(path) for path, _ in problems} - {""}:
            shutil.rmtree(found.runs / bad, ignore_errors=True)
        yield found


def _unpack(packed: ZipFile, members: dict[str, ZipInfo], manifest: Manifest, root: Path) -> Iterator[Problem]:
    """Write the listed files into the root; yield what is missing, damaged, or there without being listed."""
    first: dict[str, str] = {}
    failed: dict[str, str] = {}
    for path, sha256 in sorted(manifest.files.items()):
        member = manifest.member(path)
        if member in failed:
            yield path, failed[member]
        elif member in first:
            _link(root / first[member], root / path)
        elif why := _write(packed, members.get(member), root / path, sha256):
            failed[member] = why
            yield path, why
        else:
            first[member] = path
    listed = {NAME, *map(manifest.member, manifest.files)}
    for name in sorted(members.keys() - listed):
        yield name, f"{NAME} does not list it"


def _write(packed: ZipFile, member: ZipInfo | None, target: Path, sha256: str) -> str:
    """Write one file; return what is wrong with it, or ""."""
    if member is None:
        return "is missing"
    try:
        found = zips.unpack(packed, member, target)
    except ValueError as error:
        return str(error).removeprefix(f"{member.filename} ")
    return "" if found == sha256 else f"does not have the SHA-256 that {NAME} lists"


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
