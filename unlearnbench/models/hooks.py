"""What a layer puts out while a model runs, read or replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def output_of(model: nn.Module, layer: str, run: Callable[[], object]) -> Tensor:
    """Return what the named submodule puts out during `run()`, (n, ...) float32; raise TypeError if no tensor."""
    seen: list[object] = []

    def note(_module: nn.Module, _inputs: object, out: object) -> None:
        seen.append(out.clone() if isinstance(out, Tensor) else out)  # what follows may change it in place

    handle = model.get_submodule(layer).register_forward_hook(note)
    try:
        run()
    finally:
        handle.remove()
    if not seen or not isinstance(seen[0], Tensor):
        raise TypeError(f"layer {layer} puts out {type(seen[0]).__name__ if seen else 'nothing'}, no tensor")
    return seen[0].float()


@contextmanager
def replaced(model: nn.Module, layer: str, output: Tensor) -> Iterator[None]:
    """Have the named submodule put out `output` (n, ...) inside the block, whatever it is given.

    Where nothing else reaches what follows (a residual sum does), that runs on n rows, and a model run on one example
    costs little more than its last layers.
    """
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, _out: output)
    try:
        yield
    finally:
        handle.remove()
