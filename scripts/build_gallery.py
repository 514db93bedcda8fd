#!/usr/bin/env python3
"""Make the report of docs/gallery from the small runs that are kept there, or keep other runs.

    python scripts/build_gallery.py                  # docs/gallery/report from docs/gallery/runs.tar.xz; scripts/docs
    python scripts/build_gallery.py --keep OUTPUTS   # first runs.tar.xz from the runs in OUTPUTS; scripts/gallery

Kept are the rows, facts and configuration of each run and the original's scores on forget, since a run without any
scores is taken for a damaged one. git ignores what is made from them, docs/gallery/runs and docs/gallery/report.
"""

import shutil
import sys
import tarfile
from contextlib import chdir
from pathlib import Path

from unlearnbench.files import sums
from unlearnbench.report import write

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
PACKED = FOLDER / "runs.tar.xz"
KEPT = (
    "config.yaml", "metrics.csv", "result.json", "run.log", "splits.npz", "scores/original_forget.npz", "exposed.csv",
    "exposed/*.png",
)  # fmt: skip


def keep(outputs: Path) -> None:
    """Pack the rows and facts of all runs of a folder."""
    runs = FOLDER / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    for result in sorted((outputs / "runs").glob("*/result.json")):
        target = runs / result.parent.name
        for file in (file for name in KEPT for file in result.parent.glob(name)):
            copy = target / file.relative_to(result.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        sums.write(target)
    with tarfile.open(PACKED, "w:xz", preset=9) as archive:
        for file in sorted(runs.rglob("*"), key=lambda one: (one.suffix, one.name, one)):
            if file.is_file():
                archive.add(file, file.relative_to(FOLDER), filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out time and owner, so that equal runs give equal bytes."""
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode = 0, 0, 0, "", "", 0o644
    return entry


def build() -> Path:
    """Unpack the runs and write their report; return its folder."""
    for name in ("runs", "report"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    with tarfile.open(PACKED) as archive:
        archive.extractall(FOLDER, filter="data")
    with chdir(FOLDER):
        return FOLDER / write([Path("runs")], Path("report"))


def main() -> None:
    """Keep runs if a folder is given, and write the report."""
    words = sys.argv[1:]
    if words[:1] == ["--keep"] and len(words) == 2:
        keep(Path(words[1]))
    elif words:
        raise SystemExit(__doc__)
    print(build())


if __name__ == "__main__":
    main()
