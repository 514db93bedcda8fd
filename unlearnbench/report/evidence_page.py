"""evidence.json, and evidence.html: one self-contained page from what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from unlearnbench.report import salted
from unlearnbench.report.collect import Runs
from unlearnbench.report.evidence import JSON, PAGE, SALT, evidence, is_written, one_run, summaries
from unlearnbench.request.compose import SHOWN_RUNS

SPLITS = ("forget", "retain", "test")


def write(target: Path, runs: Runs) -> dict[str, Any]:
    """Write evidence.json, evidence.html and, where there is none yet, evidence.salt; return what the JSON holds."""
    facts = one_run(runs)
    target.mkdir(parents=True, exist_ok=True)
    found = evidence(runs, facts, salted.kept(target / SALT))
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    content = text.encode(errors="replace")
    (target / JSON).write_bytes(content)
    html = page(found, hashlib.sha256(content).hexdigest())
    (target / PAGE).write_text(html, encoding="utf-8", errors="replace")
    return found


def page(found: Mapping[str, Any], sha256: str) -> str:
    """Return the page as text; all values are escaped."""
    return _rendered(
        "evidence.html.jinja", found=found, sha256=sha256, number=number, splits=_by_split(found["numbers"])
    )


def section(runs: Runs, target: Path) -> str:
    """Return the section on evidence of a report in the folder `target`."""
    done = sum(one.status == "done" for one in runs.facts.values())
    return _rendered(
        "evidence_section.html.jinja",
        summaries=summaries(runs, SHOWN_RUNS), more=done - SHOWN_RUNS, written=is_written(runs, target),
    )  # fmt: skip


def number(value: object) -> str:
    """Return a number for a table; "" for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _by_split(numbers: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return the numbers of each split, the forgotten rows first."""
    found: dict[str, list[Mapping[str, Any]]] = {name: [] for name in SPLITS}
    for one in numbers:
        found.setdefault(one["split"], []).append(one)
    return [(name, rows) for name, rows in found.items() if rows]


def _rendered(name: str, **values: Any) -> str:
    from jinja2 import Environment

    template = files("unlearnbench.report").joinpath(name).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(**values)
