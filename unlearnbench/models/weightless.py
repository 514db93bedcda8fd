"""Models without memory: what an architecture is made of, before anything is drawn for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

DRAWS = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "xavier_normal_"}


@contextmanager
def weightless() -> Iterator[None]:
    """Build models on the meta device inside the block.

    Nothing is drawn for them: on that device torch would import its compiler for it, which takes a second.
    """
    with torch.device("meta"), _Undrawn():
        yield


class _Undrawn(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
