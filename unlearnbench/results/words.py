"""A run's numbers in words: is it nearer to retrained than the original was, on which splits, and were both trained?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unlearnbench.metrics.equivalence import Differences
from unlearnbench.metrics.nearness import hardly, least, moved, passes, training

Values = Mapping[tuple[str, str, str], float]
"""A run's numbers by role, split and metric."""
SPLITS = ("retain", "forget", "test")
RANKED = (("accuracy", "accuracy", "rate"), ("answer_nll", "answer NLL", "nats"))
"""What nearness is measured in, the first that a run has: metric, words, unit."""
UNKNOWN = (
    "The noise floor is unknown, so any of these differences may be chance. To measure it: reference.count=2, or a "
    "sweep over seed=0,1,2."
)


def words(values: Values, result: Mapping[str, Any]) -> list[str]:
    """Return what a finished run's numbers say; `result` has its scored rows, margins and checkpoint."""
    known = [of for of in RANKED if ("unlearned", "retain", of[0]) in values]
    if not known:
        return []
    metric, name, unit = known[0]
    original, retrained = (values.get((role, "retain", metric), math.nan) for role in ("original", "retrained"))
    if math.isnan(retrained):
        return hardly(original) if unit == "rate" else []
    margins = result.get("margin") or {}
    margin = float(margins.get(metric, margins.get(unit, math.nan)))
    floor = values.get(("retrained", "retain", f"floor_{metric}"), math.nan)
    said = _nearness(values, metric, result.get("scored") or {}, is_rate=unit == "rate")
    if result.get("checkpoint") is None:  # that note says how the user's own weights compare
        said += training(name, original, retrained, floor, margin, is_rate=unit == "rate")
    if unit == "rate":
        held_out = "test_retain" if ("unlearned", "test_retain", metric) in values else "test"
        ahead = [_apart(values, metric, "unlearned", split) for split in ("retain", held_out)]
        limit = max(one for one in (floor, margin, 0.0) if not math.isnan(one))
        said += [text] if (text := passes("The unlearned model", ahead[0], ahead[1], limit, held_out)) else []
    return said


def _apart(values: Values, metric: str, role: str, split: str) -> float:
    """Return a role's value less that of retrained; NaN where one is missing."""
    return values.get((role, split, metric), math.nan) - values.get(("retrained", split, metric), math.nan)


def _nearness(values: Values, metric: str, rows: Mapping[str, int], *, is_rate: bool) -> list[str]:
    """Return on which splits the run is nearer to retrained than the original was, and on which farther."""
    floors = {split: values.get(("retrained", split, f"floor_{metric}"), math.nan) for split in SPLITS}
    found: dict[str, list[str]] = {"nearer": [], "farther": [], "": []}
    reached = []
    for split in SPLITS:
        before, after = (abs(_apart(values, metric, role, split)) for role in ("original", "unlearned"))
        if math.isnan(before + after):
            continue
        enough = least(floors[split], rows.get(split, 0), is_rate=is_rate)
        one = moved({"": Differences(before - after, math.nan, 1)}, enough)[""]
        found[one].append(f"{split} (away by {after:.4f}; the original by {before:.4f})" if one else split)
        reached += [split] if after <= floors[split] else []
    said = []
    if found["nearer"]:
        said.append(f"Nearer to retrained than the original was on {_joined(found['nearer'])}.")
    if found["farther"]:
        said.append(f"Farther from retrained than the original was on {_joined(found['farther'])}.")
    if found[""]:
        said.append(f"No clear change on {_joined(found[''])}.")
    if reached:
        said.append(f"Within the noise floor of retrained on {_joined(reached)}, which is no proof of equality.")
    return [*said, UNKNOWN] if all(map(math.isnan, floors.values())) else said


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
