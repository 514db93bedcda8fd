"""A model's weights as named tensors, and back: masks, prompts and adapters included."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearnbench.models import four_bit, masks
from unlearnbench.models.prefix import NAME, Prefixed, inner

PREFIX = "prompt."


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return what must be kept of a model: an adapter alone where it has one; tensors that share memory once.

    Weights in 4 bits are left out: they are the pretrained ones, and never change.
    """
    if isinstance(model, Prefixed):
        buffers = {f"{PREFIX}{name}": tensor for name, tensor in model.named_buffers(recurse=False)}
        return {**state_of(inner(model)), **buffers}
    if has_adapter(model):
        from unlearnbench.models import adapter

        return adapter.state_of(model)  # type: ignore[arg-type]
    once: dict[tuple[int, torch.Size], str] = {}
    stored = four_bit.layers(model)
    state = {n: tensor for n, tensor in model.state_dict().items() if not four_bit.is_stored_weight(n, stored)}
    for name, tensor in state.items():
        if tensor.numel():
            once.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name: tensor for name, tensor in state.items() if not tensor.numel() or name in once.values()}


def restore(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Give the model what `state_of` kept; return it with the masks and the prompt that the state holds.

    Raises KeyError where tensors are missing or unknown.
    """
    prompt = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    weights = {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}
    if has_adapter(model):
        from unlearnbench.models import adapter

        adapter.load(model, weights)  # type: ignore[arg-type]
    else:
        masks.restore(model, weights)
        four_bit.restore(model, weights)
        missing, unknown = model.load_state_dict(weights, strict=False)
        shared = set(missing) - set(state_of(model))
        if unknown or set(missing) - shared:
            raise KeyError(f"weights do not fit: missing {sorted(set(missing) - shared)}, unknown {unknown}")
    if not prompt:
        return model
    device = next(model.parameters()).device
    return Prefixed(model, prompt[NAME].to(device), int(prompt["replaced_tokens"]))


def lengthened(state: Mapping[str, Tensor]) -> int:
    """Return by how many tokens the prompt in a kept state, where there is one, lengthens a sequence."""
    prompt = state.get(f"{PREFIX}{NAME}")
    return 0 if prompt is None else len(prompt) - int(state[f"{PREFIX}replaced_tokens"])


def merged(model: nn.Module) -> nn.Module:
    """Return the model with its adapter, where it has one, added to its weights."""
    if not has_adapter(model):
        return model
    from unlearnbench.models import adapter

    plain = adapter.merge(inner(model))  # type: ignore[arg-type]
    return Prefixed(plain, model.prefix, model.replaced) if isinstance(model, Prefixed) else plain


def differ(model: nn.Module, reference: nn.Module) -> bool:
    """Return whether a model's weights differ from those of the reference it came from; a mask counts if it masks."""
    if has_adapter(model):
        from unlearnbench.models import adapter

        return not (adapter.shares(reference, model) and adapter.is_zero(model))  # type: ignore[arg-type]
    a, b = state_of(model), state_of(reference)
    added = [tensor for name, tensor in a.items() if name not in b and not (masks.is_mask(name) and bool(tensor.all()))]
    return bool(added) or not all(name in a and torch.equal(a[name], b[name]) for name in b)


def has_adapter(model: nn.Module) -> bool:
    """Return whether the model, or the one inside a prompt, carries a low-rank adapter."""
    model = inner(model)
    return hasattr(model, "peft_config") and hasattr(model, "base_model")
