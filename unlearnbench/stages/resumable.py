"""What the kept state of an interrupted training must hold: nothing is restored from one that could not be ours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unlearnbench.graph.artefact import Artefact
from unlearnbench.models import weights
from unlearnbench.training.stepper import Stepper

MOVING = ("lr", "last_epoch", "_step_count", "_last_lr", "best", "cooldown_counter", "num_bad_epochs")
"""What of an optimiser's groups and a schedule's state changes as the training goes on; the recipe decides the rest."""
ROW = {"epoch", "lr", "loss"}
"""What each row of a curve holds."""


def check(kept: Artefact, stepper: Stepper, circumstances: Mapping[str, Any] | None) -> None:
    """Raise what a mapping, a number or `_demand` raises where a state cannot be one of this training."""
    facts = kept.facts
    _check_progress(facts, stepper)
    _check_spent(facts["spent"], circumstances)
    groups = stepper.optimizer.state_dict()["param_groups"]
    _check_alike("groups", facts["groups"], groups)
    _demand(all(math.isfinite(group["lr"]) for group in facts["groups"]), "a learning rate is not finite")
    _check_schedule(facts, stepper)
    model = {f"model.{name}": tensor for name, tensor in weights.state_of(stepper.model).items()}
    _check_tensors({name: tensor for name, tensor in kept.tensors.items() if not name.startswith("optimizer.")}, model)
    _check_optimizer(kept.tensors, facts, stepper)


def named(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors that an optimiser holds for one weight, by name."""
    return {name: torch.as_tensor(value) for name, value in state.items() if value is not None}


def plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what JSON can hold of a scheduler's state; the rest is the same in a new scheduler."""
    kept = {}
    for name, value in state.items():
        try:
            kept[name] = json.loads(json.dumps(value))
        except TypeError:
            continue
    return kept


def _demand(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)


def _check_progress(facts: Mapping[str, Any], stepper: Stepper) -> None:
    epoch, steps, curve = facts["epoch"], facts["steps"], facts["curve"]
    counts = (epoch, steps, facts["examples"])
    _demand(all(type(count) is int and count > 0 for count in counts), f"{counts} are no counts")
    _demand(epoch <= steps <= stepper.planned, f"{steps} steps of {stepper.planned} are no {epoch} epochs")
    _demand([row["epoch"] for row in curve] == [*range(1, epoch + 1)], f"the curve has not {epoch} epochs")
    _demand(all(row.keys() == curve[0].keys() >= ROW for row in curve), "the curve lacks columns")
    numbers = [facts["validation_seconds"], *(value for row in curve for value in row.values())]
    _demand(all(_is_number(number) for number in numbers), "the curve or the seconds hold what is no number")


def _check_spent(spent: Mapping[str, Any], circumstances: Mapping[str, Any] | None) -> None:
    _demand(spent.keys() == {"seconds", "peak_mib", "circumstances"}, f"spent holds {list(spent)}")
    _demand(_is_number(spent["seconds"]) and _is_number(spent["peak_mib"]), "spent holds what is no number")
    form = _form(circumstances or {})
    _demand(isinstance(spent["circumstances"], list), "the circumstances are no list")
    _demand(all(circumstances is None or _form(one) == form for one in spent["circumstances"]), "circumstances differ")


def _check_schedule(facts: Mapping[str, Any], stepper: Stepper) -> None:
    if stepper.scheduler is None:
        _demand(facts["scheduler"] is None, "there is a schedule too many")
        return
    schedule = facts["scheduler"]
    _check_alike("scheduler", schedule, plain(stepper.scheduler.state_dict()))
    at = facts["epoch"] if stepper.settings.schedule == "plateau" else facts["steps"]
    _demand(schedule["last_epoch"] == at, "the schedule is elsewhere")
    _demand(schedule["_last_lr"] == [group["lr"] for group in facts["groups"]], "the learning rates differ")


def _check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    _demand(found.keys() == wanted.keys(), f"the weights differ in {sorted(found.keys() ^ wanted.keys())[:3]}")
    for name, tensor in found.items():
        same = tensor.shape == wanted[name].shape and tensor.dtype == wanted[name].dtype
        _demand(same, f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
        _demand(bool(tensor.isfinite().all()), f"{name} is not finite")


def _check_optimizer(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], stepper: Stepper) -> None:
    """Compare the optimiser's tensors with what one of its kind holds for weights of these shapes."""
    trained = [weight for group in stepper.optimizer.param_groups for weight in group["params"]]
    group, kind = stepper.optimizer.param_groups[0], type(stepper.optimizer)
    wanted = {}
    for number in facts["stateful"]:
        _demand(type(number) is int and 0 <= number < len(trained), f"there is no weight {number!r}")
        for name, tensor in _held(kind, group, trained[number]).items():
            wanted[f"optimizer.{number}.{name}"] = tensor
    found = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}
    _check_tensors(found, wanted)
    counts = [float(tensor) for name, tensor in found.items() if name.endswith(".step")]
    _demand(all(1 <= count <= facts["steps"] for count in counts), "the optimiser counts other steps")


def _held(kind: Callable[..., torch.optim.Optimizer], group: Mapping[str, Any], weight: nn.Parameter) -> dict[str, Any]:
    """Return what an optimiser of this kind holds for a weight, as tensors without content."""
    small = nn.Parameter(torch.zeros(1, dtype=weight.dtype))
    small.grad = torch.zeros_like(small)
    probe = kind([{**group, "params": [small], "fused": None}])
    probe.step()
    state = named(probe.state[small])
    return {
        name: torch.empty(weight.shape if value.dim() else (), dtype=value.dtype, device="meta")
        for name, value in state.items()
    }


def _check_alike(where: str, found: Any, wanted: Any) -> None:
    """Compare values as JSON holds them: of what moves the form alone, of all else everything."""
    if isinstance(wanted, Mapping):
        _demand(isinstance(found, dict) and found.keys() == wanted.keys(), f"{where} has other keys")
        for name, value in wanted.items():
            if name in MOVING:
                sound = _form(found[name]) == _form(value) and "NaN" not in json.dumps(found[name])
                _demand(sound, f"{where}.{name} is {found[name]!r}")
            else:
                _check_alike(f"{where}.{name}", found[name], value)
    elif isinstance(wanted, list | tuple):
        _demand(isinstance(found, list) and len(found) == len(wanted), f"{where} has another length")
        for number, value in enumerate(wanted):
            _check_alike(f"{where}.{number}", found[number], value)
    else:
        _demand(type(found) is type(wanted) and found == wanted, f"{where} is {found!r}, not {wanted!r}")


def _form(value: Any) -> Any:
    """Return a value with its leaves' kinds in their place: all numbers are of one kind."""
    if isinstance(value, Mapping):
        return {name: _form(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_form(child) for child in value]
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _is_number(value: Any) -> bool:
    return _form(value) == "number" and math.isfinite(value)
