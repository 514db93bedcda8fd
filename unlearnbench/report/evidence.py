"""Evidence: what was asked, done and measured in one run, for a reader who knows neither the code nor the method.

evidence.json holds it for machines, evidence.html for people. Neither says who was forgotten: ids are salted and
hashed, and the salt is in a file of its own that the owner keeps (docs/evidence.md).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearnbench import __version__
from unlearnbench.errors import UserError, counted
from unlearnbench.evidence import ROLES
from unlearnbench.files import stored, sums
from unlearnbench.report import salted
from unlearnbench.report.attacks import EVALUATIONS, LIMITS, STRONGER
from unlearnbench.report.collect import Runs
from unlearnbench.report.facts import Facts
from unlearnbench.report.told import Number, request_text, sentences, unknowns, warnings
from unlearnbench.results import forgotten
from unlearnbench.results.folder import read_config

SCHEMA = "unlearnbench/evidence/1"
JSON, PAGE, SALT = "evidence.json", "evidence.html", "evidence.salt"
ROWS = ("forget", "retain", "validation", "test", "already", "manipulated")
"""The splits of the data whose rows are counted; the others are parts of these."""
SEPARATE = ("gap_", "floor_", "p_")


def one_run(runs: Runs) -> Facts:
    """Return the run that evidence is to be about; raise UserError where there are several, or it is not done."""
    if len(runs.facts) != 1:
        first = next(iter(runs.folders.values()))
        raise UserError(
            f"--evidence is about one run, and here are {len(runs.facts)}.\n"
            f"Try: unlearnbench report {first} --evidence --to FOLDER"
        )
    (facts,) = runs.facts.values()
    if facts.status != "done":
        raise UserError(f"--evidence: the run is {facts.status}, so nothing was measured.\nTry: a run that is done")
    return facts


def evidence(runs: Runs, facts: Facts, salt: bytes) -> dict[str, Any]:
    """Return all that the page says, as JSON holds it."""
    run = runs.folders[facts.run_id]
    config = read_config(run)
    numbers = list(_numbers(runs, facts))
    seed = config.get("eval_seed")
    return {
        "schema": SCHEMA,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "unlearnbench": __version__,
        "run": {"id": facts.run_id, "started": facts.started, "experiment": facts.experiment},
        "request": _request(run, facts, config, salt),
        "data": {"name": facts.dataset, "rows": _rows(facts), "sha256": dict(facts.sha256.get("data", {}))},
        "model": _model(run, facts),
        "method": _method(facts, config),
        "cost": {
            "seconds": dict(facts.seconds), "examples": dict(facts.examples_seen), "ratio": facts.cost_ratio,
            "note": facts.cost_note,
        },
        "seeds": {
            "run": facts.seed, "unlearning": facts.seed if facts.unlearn_seed is None else facts.unlearn_seed,
            "evaluation": facts.seed if seed is None else seed,
        },
        "machine": {
            "device": facts.device, "threads": facts.threads, "precision": facts.precision,
            "deterministic": facts.deterministic,
        },
        "software": {**facts.versions, "revision": facts.git_revision},
        "in_words": list(sentences(numbers, facts)),
        "numbers": [one.values() for one in numbers],
        "other_numbers": list(_others(runs, facts)),
        "evaluations": _evaluations(config),
        "unknown": [*unknowns(facts), *_not_asked(config)],
        "read_first": list(warnings(facts)),
        "limits": list(LIMITS),
        "files": {str(name): str(one) for name, one in stored.mapping(run / sums.NAME).items()},
    }  # fmt: skip


def _rows(facts: Facts) -> dict[str, int]:
    return {name: facts.rows[name] for name in ROWS if name in facts.rows}


def _request(run: Path, facts: Facts, config: Mapping[str, Any], salt: bytes) -> dict[str, Any]:
    what, ids = forgotten.read(run)
    values = salted.hashed(salt, ids)
    return {
        "in_words": request_text(config.get("forget") or {}, facts, len(ids)),
        "requests": facts.requests,
        "rows_to_forget": len(ids),
        "ids": {
            "are": what, "hash": "HMAC-SHA-256", "salt_sha256": hashlib.sha256(salt).hexdigest(),
            "list_sha256": salted.fingerprint(values), "list": values,
        },
    }  # fmt: skip


def _model(run: Path, facts: Facts) -> dict[str, Any]:
    files = stored.mapping(run / sums.NAME)
    return {
        "name": facts.model,
        "weights_changed": facts.weights_changed,
        "retrained": facts.references,
        "sha256": dict(facts.sha256.get("weights", {})),
        "files": {str(name): str(one) for name, one in files.items() if str(name).startswith("model/")},
        "checkpoint": None if facts.checkpoint is None else facts.checkpoint.text,
        "base": facts.base_note,
    }


def _method(facts: Facts, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's name, what it does, its paper and its settings; those of a plugin have no text."""
    from unlearnbench.request.catalogue import method

    settings = dict(config.get("method") or {})
    target = settings.pop("_target_", None)
    entry = method(facts.method)
    entry = entry if entry is not None and entry.target == target else None
    return {
        "name": facts.method,
        "does": entry.about.replace("`", "") if entry else "",
        "papers": entry.paper if entry else "",
        "settings": json.loads(json.dumps(settings, default=str)),
    }


def _evaluations(config: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, **(EVALUATIONS[name]._asdict() if name in EVALUATIONS else {})} for name in _asked(config)]


def _asked(config: Mapping[str, Any]) -> list[str]:
    return [str(name) for name, one in (config.get("eval") or {}).items() if isinstance(one, dict)]


def _not_asked(config: Mapping[str, Any]) -> Iterator[str]:
    asked = _asked(config)
    missing = [text for name, text in STRONGER.items() if name not in asked]
    if missing:
        yield f"It was not measured {'; '.join(missing)}."


def _numbers(runs: Runs, facts: Facts) -> Iterator[Number]:
    """Yield each metric of each split after the last request: of the three models, and how far two retrained differ."""
    from unlearnbench.metrics import catalogue

    known = {one.name: one for one in catalogue()}
    values = _values(runs, facts)
    places = dict.fromkeys((split, metric) for role, split, metric in values if role in ROLES)
    for split, metric in places:
        if metric.startswith(SEPARATE):
            continue
        of = {role: values.get((role, split, metric)) for role in ROLES}
        metric_of = known.get(metric)
        yield Number(
            split, metric, of["original"], of["retrained"], of["unlearned"],
            values.get(("unlearned", split, f"gap_{metric}")), values.get(("retrained", split, f"floor_{metric}")),
            metric_of.about if metric_of else "", metric_of.unit if metric_of else "",
            metric_of.ideal if metric_of else None,
        )  # fmt: skip


def _values(runs: Runs, facts: Facts) -> dict[tuple[str, str, str], float | None]:
    rows = runs.results[runs.results["run_id"] == facts.run_id]
    rows = rows[rows["request"] == rows["request"].max()]
    columns = ("role", "split", "metric")
    found = zip(zip(*(rows[name] for name in columns), strict=True), rows["value"], strict=True)
    return {place: float(value) if math.isfinite(value) else None for place, value in found}


def _others(runs: Runs, facts: Facts) -> Iterator[dict[str, Any]]:
    """Yield the numbers of other models that evaluations made, and of earlier requests."""
    rows = runs.results[runs.results["run_id"] == facts.run_id]
    last = rows["request"].max()
    rows = rows[(rows["request"] != last) | ~rows["role"].isin(ROLES)]
    for row in rows[["request", "role", "split", "metric", "value"]].to_dict("records"):
        yield {**row, "request": int(row["request"]), "value": row["value"] if math.isfinite(row["value"]) else None}


def is_written(runs: Runs, target: Path) -> bool:
    """Return whether a folder has the evidence of the one run that a report is about."""
    try:
        found = stored.mapping(target / JSON).get("run")
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and [found.get("id")] == list(runs.facts) and (target / PAGE).is_file()


@dataclass(frozen=True)
class Summary:
    """A line of a report's section on evidence."""

    run: str
    method: str
    seed: int
    started: str
    forgotten: str
    weights: str


def summaries(runs: Runs, most: int) -> Sequence[Summary]:
    """Return what identifies each finished run, of the first `most` ones."""
    done = [one for one in runs.facts.values() if one.status == "done"][:most]
    return [
        Summary(
            runs.folders[one.run_id].name, one.method, one.seed, one.started,
            counted(one.rows["forget"], "row") if "forget" in one.rows else "",
            one.sha256.get("weights", {}).get("unlearned", ""),
        )
        for one in done
    ]  # fmt: skip
