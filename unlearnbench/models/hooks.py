"""Read or replace a layer's output while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from unlearnbench.contracts import Predictions


def submodule(model: nn.Module, name: str) -> nn.Module:
    """Return a submodule by its name, which an adapter may have put other names before."""
    modules = dict(model.named_modules())
    found = [modules[name]] if name in modules else [one for path, one in modules.items() if path.endswith(f".{name}")]
    return found[0] if found else model.get_submodule(name)


def output_of(model: nn.Module, layer: str, run: Callable[[], object]) -> Tensor:
    """Return the named submodule's output during `run()`, (n, ...) float32.

    Raises TypeError if not a tensor.
    """
    seen: list[object] = []

    def note(_module: nn.Module, _inputs: object, out: object) -> None:
        seen.append(out.clone() if isinstance(out, Tensor) else out)  # later layers may change it in place

    handle = submodule(model, layer).register_forward_hook(note)
    try:
        run()
    finally:
        handle.remove()
    if not seen or not isinstance(seen[0], Tensor):
        raise TypeError(f"layer {layer}: expected a tensor, got {type(seen[0]).__name__ if seen else 'no output'}")
    return seen[0].float()


def outputs_of(model: nn.Module, layers: Sequence[str], run: Callable[[], object]) -> dict[str, Tensor]:
    """Return what each of the named submodules puts out during `run()`, (n, ...) float32; of a tuple, its first."""
    seen: dict[str, Tensor] = {}

    def note(layer: str) -> Callable[[nn.Module, object, Any], None]:
        def hook(_module: nn.Module, _inputs: object, out: Any) -> None:
            first: Tensor = out[0] if isinstance(out, tuple) else out
            seen.setdefault(layer, first.detach().float().clone())  # later layers may change it in place

        return hook

    handles = [submodule(model, layer).register_forward_hook(note(layer)) for layer in layers]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return {layer: seen[layer] for layer in layers}


def with_input(module: nn.Module, run: Callable[[], Predictions]) -> tuple[Predictions, Tensor]:
    """Return what `run()` returns, and the first input that the module gets meanwhile, (n, ...) float32."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        result = run()
    finally:
        handle.remove()
    return result, seen[0].float()


@contextmanager
def replaced(model: nn.Module, layer: str, output: Tensor) -> Iterator[None]:
    """Make the named submodule return `output` (n, ...) inside the block, whatever its input.

    Unless something else reaches the later layers (as a residual sum does), those run on n rows. A model can then
    be run on one example, at little more than the cost of its last layers.
    """
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, _out: output)
    try:
        yield
    finally:
        handle.remove()
