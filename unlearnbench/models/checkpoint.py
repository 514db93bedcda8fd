"""Your own trained weights as the original: safetensors, or a pickled state dict read without running code."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unlearnbench.errors import UserError

NESTS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")


def read(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a file, out of its nest and without the prefixes of wrappers."""
    if not path.exists():
        raise UserError(f"model.checkpoint={path} does not exist.\nTry: an absolute path to a .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"model.checkpoint={path} cannot be read as weights: {reason}\n"
            "It must be safetensors, or a state dict saved by torch.save; pickled classes are refused, they run code.\n"
            "Try: torch.save(model.state_dict(), 'weights.pt')"
        ) from error
    for name in NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(
            f"model.checkpoint={path} holds no state dict (names to tensors), but {type(found).__name__}.\n"
            "Try: torch.save(model.state_dict(), 'weights.pt')"
        )
    return {_bare(str(name)): value for name, value in found.items()}


def load(model: nn.Module, path: Path) -> None:
    """Load the file's weights into the model; raise UserError with what differs in names or shapes."""
    state = read(path)
    remedy = "the model=, dataset= and model's own settings (stem, depth) it was trained with"
    compare(state, model.state_dict(), f"model.checkpoint={path}", remedy)
    model.load_state_dict(state, strict=False)


def compare(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Raise UserError where `state` differs from a model's `own` in names or shapes; batches need not be counted."""
    uncounted = [name for name in own if name.endswith("num_batches_tracked") and name not in state]
    missing = [f"missing     {name} {tuple(own[name].shape)}" for name in own if name not in {*state, *uncounted}]
    unknown = [f"unexpected  {name} {tuple(state[name].shape)}" for name in state if name not in own]
    other = [
        f"shape       {name}: file {tuple(state[name].shape)}, model {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    differences = [*missing, *unknown, *other]
    if differences:
        shown = "\n  ".join(differences[:15]) + (f"\n  ... {len(differences)} in all" if len(differences) > 15 else "")
        raise UserError(f"{what} does not fit this model and data set:\n  {shown}\nTry: {remedy}")


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
