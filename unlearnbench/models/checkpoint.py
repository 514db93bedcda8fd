"""Load your own trained weights as the original, from safetensors or a safe state dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unlearnbench.errors import UserError
from unlearnbench.files.intake import MIB, size_of
from unlearnbench.models.weight_files import judge, pickled, safetensors

NESTS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")
TIMES, BESIDE = 8, 64 * MIB
"""Largest file: TIMES the model in 32 bits (checkpoints often hold optimiser state too), plus BESIDE bytes."""


def read(path: Path, limit: int = 2**62, what: str = "") -> dict[str, Tensor]:
    """Return the state dict in a file of at most `limit` bytes, without wrappers' prefixes.

    `what` is what the user typed for it.
    """
    what = what or f"model.checkpoint={path}"
    if not path.exists():
        raise UserError(f"{what} does not exist.\nTry: an absolute path to a .safetensors or .pt file")
    size_of(path, limit, what, "Try: torch.save(model.state_dict(), 'weights.pt'), of this model")
    found: Any = safetensors(path, what) if path.suffix == ".safetensors" else pickled(path, what)
    for name in NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(
            f"{what}: expected a state dict (names to tensors), found {type(found).__name__}.\n"
            "Try: torch.save(model.state_dict(), 'weights.pt')"
        )
    state = {_bare(str(name)): value for name, value in found.items()}
    if len(state) < len(found) or not all(isinstance(name, str) for name in found):
        raise UserError(
            f"{what} has a duplicate name, or one that is not text.\nTry: torch.save(model.state_dict(), 'weights.pt')"
        )
    return state


def load(model: nn.Module, path: Path, what: str = "") -> None:
    """Load the file's weights into the model; `what` is what the user typed for it.

    Raises UserError if names, shapes or values are wrong.
    """
    what = what or f"model.checkpoint={path}"
    own = model.state_dict()
    state = read(path, TIMES * sum(tensor.numel() * 4 for tensor in own.values()) + BESIDE, what)
    remedy = "the model=, dataset= and model's own settings (stem, depth) it was trained with"
    compare(state, own, what, remedy)
    judge(state, own, what)
    model.load_state_dict(state, strict=False)


def compare(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Raise UserError if `state` and a model's `own` differ in names or shapes, batch counters apart."""
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
