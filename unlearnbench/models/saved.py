"""A language model in a run folder: merged model, adapter, and what is around the model (a prompt, a filter)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearnbench.contracts import ModelSpec
from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Artefact
from unlearnbench.models import four_bit, vetted
from unlearnbench.models.adapter import Adapter, configuration
from unlearnbench.models.ensemble import Aggregate, Ensemble, members
from unlearnbench.models.loading import loaded, readable
from unlearnbench.models.skeleton import skeleton
from unlearnbench.models.start import adapter_of
from unlearnbench.models.wrapped import PREFIX, own_state, wrapped
from unlearnbench.models.wrapper import Wrapper, inner
from unlearnbench.task import Task

if TYPE_CHECKING:
    from peft import LoraConfig

PROMPT, ORIGINAL, ADAPTER = "prompt.safetensors", "original", "adapter_model.safetensors"
ENSEMBLE, MEMBER = "ensemble", "member_"


def write(
    target: Path,
    model: nn.Module,
    task: Task,
    spec: ModelSpec,
    artefact: Artefact,
    original: Callable[[], nn.Module],
    home: Path,
) -> None:
    """Write the merged model and tokenizer, the unlearning's adapter, and what is around the model.

    An adapter only fits the original it was trained on. So we save that original beside it, and the adapter's
    configuration gives its path below `home`, where `target` is moved when the run is published. A 4-bit model is not
    merged: its folder holds the 4-bit weights, and everything that was learned as one adapter. Members of an ensemble
    have a folder each.
    """
    adapter = adapter_of(spec)
    if isinstance(model, Ensemble):
        _write_ensemble(target, model, task)
    elif four_bit.layers(model):
        _write_four_bit(target, model, task)
    else:
        task.save(model, target)
        if artefact.facts["adapter"] and adapter is not None:
            task.save(original(), target / ORIGINAL)
            peft = configuration(adapter)
            peft.base_model_name_or_path = str(home / ORIGINAL)
            tensors = {name: tensor for name, tensor in artefact.tensors.items() if not name.startswith(PREFIX)}
            _write_adapter(target / "adapter", peft, tensors)
    if isinstance(model, Wrapper):
        around = {name: tensor.cpu().contiguous() for name, tensor in own_state(model).items()}
        save_file(around, target / PROMPT)


def _write_ensemble(target: Path, model: Ensemble, task: Task) -> None:
    """Write each member into a folder of its own, and beside them how they are joined."""
    for number, one in enumerate(members(model)):
        task.save(one, target / f"{MEMBER}{number}")
    facts = {"members": len(members(model)), "aggregate": model.aggregate}
    (target / "config.json").write_text(json.dumps({ENSEMBLE: facts}, indent=2))


def _write_four_bit(target: Path, model: nn.Module, task: Task) -> None:
    """Write 4-bit weights and, in the same folder, their change as an adapter.

    transformers loads both together.
    """
    with four_bit.changes_apart(inner(model)) as changes:
        task.save(model, target)
        if not changes:
            return
        rank = max(len(down) for down, _ in changes.values())
        peft = configuration(Adapter(r=rank, alpha=rank, dropout=0.0, targets=tuple(sorted(changes))))
        tensors = {
            f"base_model.model.{name}.lora_A.weight": _filled(down, 0, rank) for name, (down, _) in changes.items()
        }
        tensors |= {f"base_model.model.{name}.lora_B.weight": _filled(up, 1, rank) for name, (_, up) in changes.items()}
        _write_adapter(target, peft, tensors)


def _filled(tensor: Tensor, dim: int, rank: int) -> Tensor:
    """Return a change's matrix with zeros up to this rank: an adapter has one, and layers may have learned less."""
    shape = list(tensor.shape)
    shape[dim] = rank - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


def _write_adapter(target: Path, peft: LoraConfig, tensors: Mapping[str, Tensor]) -> None:
    peft.save_pretrained(str(target))
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, target / ADAPTER)


def member_folders(source: Path) -> list[Path]:
    """Return the folders of an ensemble's members; none for another model.

    Raises UserError where they are not what config.json says.
    """
    facts = vetted.read(source / "config.json").get(ENSEMBLE)
    if facts is None:
        return []
    count = facts.get("members") if isinstance(facts, dict) else None
    found = sorted(place.name for place in source.glob(f"{MEMBER}*") if place.is_dir() and not place.is_symlink())
    names = [f"{MEMBER}{number}" for number in range(len(found))]
    if not found or count != len(found) or found != sorted(names):
        raise UserError(f"{source} holds {len(found)} models, and its config.json says {count!r}.\n{vetted.ELSE}")
    return [source / name for name in names]


def read(source: Path) -> nn.Module:
    """Return the merged model with what is around it, in evaluation mode on the CPU.

    Raises UserError if damaged. The folder may be a stranger's: only files inside it are read, and no code from it is
    run.
    """
    folders = member_folders(source)
    if not folders:
        return _read_one(source)
    aggregate = vetted.read(source / "config.json")[ENSEMBLE].get("aggregate")
    if aggregate not in get_args(Aggregate):
        raise UserError(f"{source}: its members are joined by {aggregate!r}, expected mean or vote.\n{vetted.ELSE}")
    return Ensemble(map(_read_one, folders), aggregate).eval()


def _read_one(source: Path) -> nn.Module:
    quantised = "quantization_config" in vetted.read(source / "config.json")
    vetted.check(source, adapter=quantised)
    if (source / vetted.ADAPTER).exists():
        vetted.check_adapter(source)
    vetted.weights(source) if quantised else skeleton(source)
    with readable(f"the model in {source}"):
        plain: Any = loaded(source, {"device_map": {"": "cpu"}} if quantised else {})
    four_bit.as_stored(plain)
    if not (source / PROMPT).exists():
        model: nn.Module = plain.eval()
        return model
    with readable(str(source / PROMPT)):
        return wrapped(plain, load_file(source / PROMPT)).eval()
