"""The typed objects of a request: its groups, the evaluations, the requests of a stream, further evaluation sets."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError, nearest
from unlearnbench.request.config import build, build_class, config_root, typed

EXTRA = ("bbq", "crows_pairs", "stereoset")
"""Data sets that `eval.extra` can name."""


def part(config: dict[str, Any], name: str) -> Any:
    """Build a group's choice; raise UserError where there is none."""
    values = config.get(name)
    if not isinstance(values, dict):
        raise UserError(f"{name} has no choice.\nTry: `unlearnbench list`, then {name}=NAME")
    return build(values, name)


def evaluations(values: Any) -> tuple[dict[str, Any], Any]:
    """Build the evaluations that were chosen; return them by name, and the settings that all of them share."""
    if not isinstance(values, dict):
        return {}, values
    chosen = {name: one for name, one in values.items() if isinstance(one, dict)}
    if not chosen:
        raise UserError("eval has no choice: nothing would be measured.\nTry: eval=[standard]")
    shared = {name: one for name, one in values.items() if name not in chosen}
    for name, one in shared.items():
        if name in _shipped("eval"):
            raise UserError(
                f"eval.{name}={one}: {name} is an evaluation, and its settings have names.\n"
                f"Try: 'eval=[standard,{name}]' and eval.{name}.SETTING=VALUE; `unlearnbench run --cfg job` shows them"
            )
    found: dict[str, Any] = {name: build(one, f"eval.{name}", "eval") for name, one in chosen.items()}
    beside = {name: one.beside(found.values()) for name, one in found.items() if hasattr(one, "beside")}
    return found | beside, shared


@cache
def _shipped(group: str) -> frozenset[str]:
    """Return the names of our own choices in a group."""
    return frozenset(file.stem for file in (config_root() / group).glob("*.yaml"))


def forget(config: dict[str, Any]) -> Any:
    """Build the forget set; each request of a stream from its own group's YAML and the values it adds."""
    from omegaconf import OmegaConf

    values = config.get("forget")
    if not isinstance(values, dict) or not isinstance(values.get("requests"), list):
        return part(config, "forget")
    kind: Any = build_class(values.get("_target_"), "forget", ("forget",))
    built = []
    for number, one in enumerate(values["requests"]):
        where = f"forget.requests[{number}]"
        name = one.get("forget") if isinstance(one, dict) else None
        known = sorted(_shipped("forget") - {"stream"})
        if name not in known:
            raise UserError(
                f"{where} has forget={name}, expected one of {', '.join(known)}.{nearest(str(name), known)}\n"
                "Try: 'forget.requests=[{forget: class, classes: [0]}, {forget: class, classes: [1]}]'"
            )
        own: Any = OmegaConf.to_container(OmegaConf.load(config_root() / "forget" / f"{name}.yaml"))
        added = {key: value for key, value in one.items() if key != "forget"}
        built.append(build({**own, **added}, where, "forget"))
    rest = {key: value for key, value in values.items() if key != "_target_"}
    given: Any = typed(kind, {**rest, "requests": []}, "forget")
    return replace(given, requests=tuple(built))


def extra(name: str, below: Path | None, limit: int | None, info: DataInfo) -> Any:
    """Build and check a further evaluation set from its YAML, in the folder of its name below eval.root."""
    from omegaconf import OmegaConf

    file = config_root() / "dataset" / f"{name}.yaml"
    if name not in EXTRA:
        raise UserError(f"eval.extra names {name!r}.{nearest(name, EXTRA)}\nIt can be: {', '.join(EXTRA)}")
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    root = below / name if below is not None else None
    dataset = build(
        {**values, "root": str(root) if root else None, "limit_test": limit}, f"eval.extra.{name}", "dataset"
    )
    kind = dataset.info().kind
    if info.kind != kind:
        raise UserError(f"eval.extra={name} is {kind}, and the data set is {info.kind}.\nTry: dataset=clinical_notes")
    dataset.check()
    return dataset
