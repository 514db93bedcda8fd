"""What is around a model as named tensors, and back: `prompt.KIND.NAME` in a state."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from unlearnbench.models.prefix import Prefixed, SoftPrompt
from unlearnbench.models.screened import Corrupted, Withheld
from unlearnbench.models.wrapper import Wrapper

PREFIX = "prompt."
KINDS: Mapping[str, type[Wrapper]] = {one.kind: one for one in (Prefixed, SoftPrompt, Corrupted, Withheld)}


def own_state(model: Wrapper) -> dict[str, Tensor]:
    """Return the tensors of what is around a model, without those of the model inside, as `KIND.NAME`."""
    return {f"{model.kind}.{name}": tensor for name, tensor in model.own().items()}


def wrapped(model: nn.Module, state: Mapping[str, Tensor]) -> Wrapper:
    """Put around a model what `own_state` returned; raise KeyError or ValueError if it does not fit."""
    kinds = {name.partition(".")[0] for name in state}
    if len(kinds) != 1 or not kinds <= KINDS.keys():
        raise KeyError(f"expected tensors of one kind ({', '.join(KINDS)}), got {', '.join(sorted(kinds)) or 'none'}")
    tensors = {name.partition(".")[2]: tensor for name, tensor in state.items()}
    return KINDS[kinds.pop()].of(model, tensors)


def split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state's weights, and what is around them as `KIND.NAME`."""
    around = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}, around
