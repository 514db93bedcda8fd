"""result.json: what became of a run, and all about it that is not a metric."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearnbench.files import leftovers, stored, sums
from unlearnbench.machine import provenance
from unlearnbench.request import margins
from unlearnbench.request.compose import Request
from unlearnbench.request.reported import carried, carries
from unlearnbench.results import rows, words
from unlearnbench.results.identity import Identity


def facts(request: Request, identity: Identity) -> dict[str, Any]:
    """Return the part of result.json that every run has, whatever becomes of it."""
    return {
        **vars(identity),
        "overrides": list(request.overrides),
        "command": provenance.command(request.overrides),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "git_revision": provenance.git_revision(),
        "reported": carried(request),
        "margin": margins.carried(request),
    }


def write_result(folder: Path, values: Mapping[str, Any]) -> None:
    """Write result.json."""
    (folder / "result.json").write_bytes(_json(values))


def _json(values: Mapping[str, Any]) -> bytes:
    """Return values as JSON; a byte of a file name that is no UTF-8 becomes a question mark."""
    return (json.dumps(dict(values), indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def refresh(folder: Path, request: Request) -> None:
    """Give a finished run the reported numbers and margins of the request, where its result.json has others."""
    result = read_result(folder)
    if carries(result, request):
        return
    with leftovers.part(folder.parent) as part:
        now = {**result, "reported": carried(request), "margin": margins.carried(request)}
        if "words" in result:
            now["words"] = words.words(rows.read_values(folder), now)
        part.write_bytes(_json(now))
        part.replace(folder / "result.json")
    sums.renew(folder, "result.json")  # killed before this, the run is seen as damaged and made again


def read_result(folder: Path) -> dict[str, Any]:
    """Read a run folder's result.json; raise OSError or ValueError where it holds no JSON object."""
    return stored.mapping(folder / "result.json")
