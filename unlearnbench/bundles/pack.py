"""Pack a leaderboard: the rows of a report, and what the metrics of its runs were computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnbench import __version__
from unlearnbench.bundles.manifest import KEPT, NAME, README, RUNS, SCHEMA, TABLES, WEIGHTS, Manifest
from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, stored, sums, zips
from unlearnbench.report.collect import Runs, collect
from unlearnbench.report.summary import summarise

TEXT = """\
{runs} runs, packed by unlearnbench {version}: rows, configurations and scores{weights}.

    unlearnbench verify FILE.zip           compute the numbers again from the scores, and compare
    unlearnbench report FILE.zip --to FOLDER    tables, figures and a page from these runs

Needs no data set, no network and no GPU. What this shows and what it does not: docs/evidence.md of unlearnbench.
"""


@dataclass(frozen=True)
class Packed:
    """What was packed: `sha256` is that of bundle.json, and `without_weights` names runs that have none."""

    runs: int
    size: int
    sha256: str
    without_weights: tuple[str, ...]


def pack(folders: Sequence[Path], target: Path, *, weights: bool) -> Packed:
    """Pack the runs at or below the folders into a zip; equal runs give equal bytes.

    Raises UserError where there are no sound runs, or the target is not a writable .zip.
    """
    from unlearnbench.request.places import writable

    if target.suffix != ".zip" or target.is_dir():
        raise UserError(f"--bundle {target}: a bundle is one zip.\nTry: --bundle {target.with_suffix('.zip')}")
    writable(target.absolute().parent, "--bundle ")
    runs = collect(folders)
    files: dict[str, Path | bytes] = dict(tables(runs))
    digests = {name: _sha256(content) for name, content in tables(runs).items()}
    without = []
    for run in sorted(runs.folders.values(), key=lambda folder: folder.name):
        kept = _kept(run, weights)
        if weights and not any(WEIGHTS.fullmatch(name) for name in kept):
            without.append(run.name)
        own = (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()
        files |= {f"{RUNS}/{run.name}/{name}": run / name for name in kept}
        files[f"{RUNS}/{run.name}/{sums.NAME}"] = own
        digests |= {f"{RUNS}/{run.name}/{name}": sha256 for name, sha256 in kept.items()}
        digests[f"{RUNS}/{run.name}/{sums.NAME}"] = _sha256(own)
    told = ", with the weights of unlearned models" if weights else ""
    files[README] = TEXT.format(runs=len(runs.folders), version=__version__, weights=told).encode()
    digests[README] = _sha256(files[README])
    manifest = Manifest(schema=SCHEMA, unlearnbench=__version__, weights=weights, files=digests)
    members = {manifest.member(path): content for path, content in files.items()}
    members[NAME] = manifest.text()
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with leftovers.part(target.absolute().parent) as part:
        zips.write(part, members, stored=[name for name in members if name.endswith(".safetensors")])
        part.replace(target)
    return Packed(len(runs.folders), target.stat().st_size, _sha256(manifest.text()), tuple(without))


def tables(runs: Runs) -> dict[str, bytes]:
    """Return the tables of a bundle by name: those of a report, with folders as they are in the bundle."""
    from unlearnbench.files.escapes import csv_table

    table = runs.table[runs.table["run_id"] != ""]
    table = table.assign(folder=[f"{RUNS}/{runs.folders[str(run_id)].name}" for run_id in table["run_id"]])
    made = zip(TABLES, (runs.results, table, summarise(runs)), strict=True)
    return {name: csv_table(one).to_csv(index=False, lineterminator="\n").encode() for name, one in made}


def _kept(run: Path, weights: bool) -> dict[str, str]:
    """Return the files of a run that go into a bundle, with their sums."""
    known: Mapping[str, str] = stored.mapping(run / sums.NAME)
    return dict(_chosen(known, weights))


def _chosen(known: Mapping[str, str], weights: bool) -> Iterator[tuple[str, str]]:
    for name, sha256 in known.items():
        if KEPT.fullmatch(name) or (weights and WEIGHTS.fullmatch(name)):
            yield name, sha256


def _sha256(content: Path | bytes) -> str:
    assert isinstance(content, bytes)
    return hashlib.sha256(content).hexdigest()
