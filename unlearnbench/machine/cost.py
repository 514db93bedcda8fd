"""The cost of unlearning relative to retraining, without validation and what was prepared beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]

ALIKE = ("device", "processor", "threads", "precision")
"""The circumstances that must agree for a ratio; the machine's load is noted but not compared."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What interrupted processes had spent on a stage up to the state that it was resumed from."""

    seconds: float = 0.0
    peak_mib: float = 0.0
    circumstances: tuple[Facts, ...] = ()


def training_seconds(facts: Facts) -> float:
    """Return a stage's seconds without scoring validation examples, and without what comes before any request."""
    return float(facts["seconds"] - facts["validation_seconds"] - facts.get("preparation_seconds", 0.0))


def in_all(spent: Mapping[str, float], earlier: float) -> dict[str, float]:
    """Return what a stage used with the wall-clock seconds of the processes that were interrupted in it.

    Nobody knows what else those used: of an interrupted stage only the seconds are known.
    """
    return {"seconds": spent["seconds"] + earlier} if earlier else dict(spent)


def computing_seconds(facts: Facts) -> float | None:
    """Return how long a stage's GPU, or without one its processors, worked for its training; None if nobody knows.

    Validation and preparation are left out by their share of the wall-clock seconds: they run on the same threads.
    """
    on_gpu = "gpu_seconds" in facts
    used = facts.get("gpu_seconds" if on_gpu else "cpu_seconds")
    return None if used is None or not facts["seconds"] else float(used) * training_seconds(facts) / facts["seconds"]


def compute_ratio(unlearned: Facts, retrained: Mapping[str, Facts]) -> float | None:
    """Return the GPU or processor seconds of unlearning divided by the mean of retraining's.

    None where the stages were not measured alike, or one of them does not know its seconds.
    """
    stages = {"unlearned": unlearned, **retrained}
    known = [computing_seconds(facts) for facts in stages.values()]
    spent = [seconds for seconds in known if seconds is not None]
    if not retrained or len(spent) < len(stages) or not sum(spent[1:]) or any(_differences(stages)):
        return None
    return spent[0] * len(retrained) / sum(spent[1:])


def examples_ratio(seen: Mapping[str, float]) -> float | None:
    """Return the examples that unlearning saw divided by the mean of retraining's; None without a retraining."""
    retrained = [count for name, count in seen.items() if name.startswith("retrained")]
    if "unlearned" not in seen or not sum(retrained):
        return None
    return float(seen["unlearned"] * len(retrained) / sum(retrained))


def ratio(unlearned: Facts, retrained: Mapping[str, Facts]) -> tuple[float | None, str]:
    """Return the seconds of unlearning divided by the mean seconds of retraining, and a note.

    Returns None and the reason if the stages were not measured alike. The note also says if the machine was busy with
    other work; it is empty if the ratio can be trusted.
    """
    if not retrained:
        return None, "nothing was retrained"
    stages = {"unlearned": unlearned, **retrained}
    note = "; ".join(_differences(stages))
    if note:
        return None, f"not measured alike: {note}"
    busy = [name for name, facts in stages.items() if any(one.get("busy") for one in facts["circumstances"])]
    seconds = [training_seconds(facts) for facts in retrained.values()]
    note = f"the machine was busy with other work during {', '.join(busy)}" if busy else ""
    if busy and _spins(unlearned):
        note += ", and its threads spun while they waited, which counts as CPU seconds"
    return training_seconds(unlearned) * len(seconds) / sum(seconds), note


def _spins(facts: Facts) -> bool:
    """Return whether a stage ran on several threads of a processor, which spin while they wait for each other."""
    return any(one["device"] == "cpu" and one["threads"] > 1 for one in facts["circumstances"])


def values_of(name: str, circumstances: Sequence[Facts]) -> list[str]:
    """Return the values of a circumstance, each once, in order; several if the stage was interrupted."""
    return list(dict.fromkeys(str(one[name]) for one in circumstances))


def _differences(stages: Mapping[str, Facts]) -> Iterator[str]:
    for name in ALIKE:
        values = {stage: values_of(name, facts["circumstances"]) for stage, facts in stages.items()}
        if len({value for found in values.values() for value in found}) > 1:
            yield f"{name} " + ", ".join(f"{stage} {' then '.join(found)}" for stage, found in values.items())
