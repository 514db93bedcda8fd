"""`unlearnbench verify EVIDENCE`: is the page whole, is it about this run, and are these ids among the forgotten?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError, counted
from unlearnbench.files import stored, sums
from unlearnbench.report import salted
from unlearnbench.report.evidence import JSON, PAGE, SCHEMA

SHOWN = 10


@dataclass
class Attested:
    """What was found: `problems` are what is wrong, `said` what was found right."""

    place: Path
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """Yield a line a problem, then what was found right."""
        yield from self.problems
        yield from self.said
        count = len(self.problems)
        yield f"{self.place}: {'all is well' if not count else counted(count, 'problem')}"


def attested(place: Path, ids: Path | None, salt: Path | None, run: Path | None) -> Attested:
    """Look at evidence, and whether ids are among those that were to be forgotten, which takes the salt.

    Raises UserError where there is no evidence, or the salt is not the one that it was written with.
    """
    file = place / JSON if place.is_dir() else place
    found = Attested(file)
    values = _read(file)
    if (ids is None) != (salt is None):
        raise UserError("--ids and --salt belong together.\nTry: --ids FILE --salt evidence.salt")
    _page(found, file)
    listed = values["request"]["ids"]
    if salted.fingerprint(listed["list"]) != listed["list_sha256"]:
        found.problems.append("the list of hashed ids has changed: list_sha256 is another")
    if ids is not None and salt is not None:
        _ids(found, listed, ids, salt)
    if run is not None:
        _run(found, values["files"], run)
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        values = stored.mapping(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no evidence: {stored.why(error)}.\nTry: report/evidence.json") from error
    if values.get("schema") != SCHEMA:
        raise UserError(f"{file} is no evidence: expected the schema {SCHEMA}.\nTry: report/evidence.json")
    request, files = values.get("request"), values.get("files")
    listed = request.get("ids") if isinstance(request, dict) else None
    ids = listed.get("list") if isinstance(listed, dict) else None
    texts = [*ids, listed.get("list_sha256")] if isinstance(listed, dict) and isinstance(ids, list) else [None]
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in texts):
        raise UserError(f"{file} is damaged: it does not hold the ids and files of {SCHEMA}.\nTry: a sound copy")
    return values


def _page(found: Attested, file: Path) -> None:
    page = file.with_name(PAGE)
    if page.is_file():
        if hashlib.sha256(stored.content(file)).hexdigest() not in page.read_text(encoding="utf-8", errors="replace"):
            found.problems.append(f"{page} was made from another {file.name}")
        else:
            found.said.append(f"{page} was made from this {file.name}")


def _ids(found: Attested, listed: dict[str, Any], ids: Path, salt: Path) -> None:
    key = salted.read(salt)
    if hashlib.sha256(key).hexdigest() != listed.get("salt_sha256"):
        raise UserError(
            f"{salt} is not the salt of this evidence, so it says nothing about ids.\n"
            "Try: the evidence.salt that was written with it"
        )
    asked, known = salted.read_ids(ids), set(listed["list"])
    missing = [one for one in asked if salted.hashed_one(key, one) not in known]
    if missing:
        some = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        kind = "ids" if listed.get("are") == "id" else "positions, counted from 0"
        found.problems.append(
            f"{len(missing)} of {counted(len(asked), 'id')} are not among the {len(known):,} rows that were to be "
            f"forgotten ({some}); the evidence lists {kind}"
        )
    there = len(asked) - len(missing)
    if there:
        found.said.append(f"{there:,} of {counted(len(asked), 'id')} are among the {len(known):,} rows to forget")


def _run(found: Attested, files: dict[str, Any], run: Path) -> None:
    """Compare a run's files with the digests in the evidence."""
    wrong = sums.damage(run)
    if not wrong:
        own = stored.mapping(run / sums.NAME)
        differ = sorted(name for name in {*own, *files} if own.get(name) != files.get(name))
        wrong = [f"{name} is not the file that the evidence is about" for name in differ]
    found.problems += [f"{run}: {line}" for line in wrong[:SHOWN]]
    if not wrong:
        found.said.append(f"{run}: all {counted(len(files), 'file')} are those that the evidence is about")
