"""Load your own trained weights as the original, from safetensors or a safe state dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Size, Tensor, nn

from unlearnbench.errors import UserError
from unlearnbench.files.intake import MIB, size_of
from unlearnbench.models import masks, vetted
from unlearnbench.models.weight_files import judge, pickled, safetensors

AVERAGED = "state_dict_ema"
"""Where timm keeps the moving average of the weights, which its own loader prefers."""
NESTS = (AVERAGED, "state_dict", "model_state_dict", "model", "net")
FILE = "model.safetensors"
PREFIXES = ("module.", "_orig_mod.")
TIMES, BESIDE = 8, 64 * MIB
"""Largest file: TIMES the model in 32 bits (checkpoints often hold optimiser state too), plus BESIDE bytes."""


def file_of(path: Path) -> Path:
    """Return the file at a path; of a run's folder or a model's folder, its model.safetensors.

    Raises UserError for a folder without one.
    """
    if not path.is_dir():
        return path
    for folder in (path, path / "model"):
        if (folder / FILE).is_file():
            return folder / FILE
    is_run = (path / "result.json").exists()
    what = "this run's folder has no model" if is_run else f"this folder has no {FILE}"
    raise UserError(
        f"model.checkpoint={path}: {what}.\nTry: "
        + ("the run again with save_model=true" if is_run else "the path of the file with the weights")
    )


def check_classes(file: Path, classes: Sequence[str]) -> None:
    """Raise UserError where a run's model.safetensors was made for other classes, or the same in another order."""
    beside = file.parent / "config.json"
    if file.name != FILE or not beside.is_file():
        return
    data = vetted.read(beside).get("data")
    theirs = data.get("classes") if isinstance(data, dict) else None
    if isinstance(theirs, list) and list(map(str, theirs)) != list(classes):
        raise UserError(
            f"model.checkpoint={file} was made for the classes {_few(theirs)}; this data set has {_few(classes)}.\n"
            "Try: the dataset= that it was trained with"
        )


def _few(names: Sequence[object]) -> str:
    return ", ".join(map(str, names[:10])) + (f" ... ({len(names)} in all)" if len(names) > 10 else "")


def read(path: Path, limit: int = 2**62, what: str = "") -> dict[str, Tensor]:
    """Return the state dict in a file of at most `limit` bytes, without wrappers' prefixes.

    `what` is what the user typed for it.
    """
    return _read(path, limit, what or f"model.checkpoint={path}")[0]


def _read(path: Path, limit: int, what: str) -> tuple[dict[str, Tensor], bool]:
    """Return the state dict in a file, and whether it is of averaged weights beside others."""
    if not path.exists():
        raise UserError(f"{what} does not exist.\nTry: an absolute path to a .safetensors or .pt file")
    size_of(path, limit, what, "Try: torch.save(model.state_dict(), 'weights.pt'), of this model")
    found: Any = safetensors(path, what) if path.suffix == ".safetensors" else pickled(path, what)
    averaged = isinstance(found, Mapping) and isinstance(found.get(AVERAGED), Mapping)
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
    return state, averaged


def load(model: nn.Module, path: Path, what: str = "") -> bool:
    """Load the file's weights into the model; return whether they are averaged ones, beside others in the file.

    `what` is what the user typed for it.

    Raises UserError if names, shapes or values are wrong. A mask that a run's model has is attached.
    """
    what = what or f"model.checkpoint={path}"
    own = model.state_dict()
    state, averaged = _read(path, TIMES * sum(tensor.numel() * 4 for tensor in own.values()) + BESIDE, what)
    state = _without_wrapper(state, own)
    modules = dict(model.named_modules())
    masks.restore(model, {name: mask for name, mask in state.items() if name.rpartition(".")[0] in modules})
    own = model.state_dict()
    remedy = "the model=, dataset= and model's own settings (stem, depth) it was trained with"
    compare(state, own, what, remedy)
    judge(state, own, what)
    _check_tied(state, own, what)
    model.load_state_dict(state, strict=False)
    return averaged


def _without_wrapper(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the name of the module that a trainer such as Lightning's wraps around the model, if all names have it."""
    front = next(iter(state), "").partition(".")[0] + "."
    if own.keys() & state.keys() or not all(name.startswith(front) for name in state):
        return state
    return {name.removeprefix(front): tensor for name, tensor in state.items()}


def _tied(own: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names that share one tensor, in groups."""
    groups: dict[tuple[int, Size], list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel() and tensor.data_ptr():
            groups.setdefault((tensor.data_ptr(), tensor.shape), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _check_tied(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Raise UserError where the file has several values for what is one tensor in the model."""
    for names in _tied(own):
        first, *others = (name for name in names if name in state)
        for other in others:
            if not state[first].equal(state[other]):
                raise UserError(
                    f"{what}: {first} and {other} differ, but they are one tensor in this model.\n"
                    "Try: the model's own settings that it was trained with"
                )


def compare(state: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, remedy: str) -> None:
    """Raise UserError if `state` and a model's `own` differ in names or shapes.

    Batch counters may be missing, and of names that share one tensor all but one.
    """
    uncounted = [name for name in own if name.endswith("num_batches_tracked") and name not in state]
    held = {name for names in _tied(own) for name in names if not state.keys().isdisjoint(names)}
    known = {*state, *uncounted, *held}
    missing = [f"missing     {name} {tuple(own[name].shape)}" for name in own if name not in known]
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
