"""What a layer puts out while a model runs."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def output_of(model: nn.Module, layer: str, run: Callable[[], object]) -> Tensor:
    """Return what the named submodule puts out during `run()`, (n, ...) float32."""
    seen: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    try:
        run()
    finally:
        handle.remove()
    out: Tensor = seen[0].float()
    return out
