"""Turn a model's weights into named tensors and back, including masks, adapters, ensembles and what is around them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unlearnbench.models import ensemble, four_bit, masks
from unlearnbench.models.wrapped import PREFIX, own_state, split, wrapped
from unlearnbench.models.wrapper import Wrapper, inner


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors to keep of a model: only its adapter if it has one, and shared tensors once.

    4-bit weights are left out: they are the pretrained ones and never change.
    """
    if isinstance(model, Wrapper):
        around = {f"{PREFIX}{name}": tensor for name, tensor in own_state(model).items()}
        return {**state_of(model.model), **around}
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
    """Load what `state_of` kept into the model; return it with the state's masks and what is around it.

    Raises KeyError for missing or unknown tensors.
    """
    model = ensemble.like(model, state)
    weights, around = split(state)
    if has_adapter(model):
        from unlearnbench.models import adapter

        adapter.load(model, weights)  # type: ignore[arg-type]
    else:
        masks.restore(model, weights)
        four_bit.restore(model, weights)
        _in_format_of(weights, model)
        missing, unknown = model.load_state_dict(weights, strict=False)
        shared = set(missing) - set(state_of(model))
        if unknown or set(missing) - shared:
            raise KeyError(f"weights do not fit: missing {sorted(set(missing) - shared)}, unknown {unknown}")
    return wrapped(model, around) if around else model


def _in_format_of(state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Give the model's parameters the number formats of these tensors: nobody's weights are rounded on the way."""
    for name, parameter in model.named_parameters():
        kept = state.get(name, parameter)
        if kept.dtype != parameter.dtype and kept.is_floating_point() and parameter.is_floating_point():
            parameter.data = parameter.data.to(kept.dtype)


def merged(model: nn.Module) -> nn.Module:
    """Return the model with its adapter, if any, added to its weights."""
    if not has_adapter(model):
        return model
    from unlearnbench.models import adapter

    if isinstance(model, Wrapper):
        return model.around(merged(model.model))
    return adapter.merge(model)  # type: ignore[arg-type]


def differ(model: nn.Module, reference: nn.Module) -> bool:
    """Return whether a model's weights differ from its reference's.

    A mask counts if it masks anything.
    """
    if has_adapter(model):
        from unlearnbench.models import adapter

        return not (adapter.shares(reference, model) and adapter.is_zero(model))  # type: ignore[arg-type]
    a, b = state_of(model), state_of(reference)
    added = [tensor for name, tensor in a.items() if name not in b and not (masks.is_mask(name) and bool(tensor.all()))]
    return bool(added) or not all(name in a and torch.equal(a[name], b[name]) for name in b)


def has_adapter(model: nn.Module) -> bool:
    """Return whether the model, or the one inside a wrapper, has a low-rank adapter."""
    model = inner(model)
    return hasattr(model, "peft_config") and hasattr(model, "base_model")
