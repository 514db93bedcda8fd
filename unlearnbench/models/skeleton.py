"""Compare config.json with the headers of the weights, without taking memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.models import vetted
from unlearnbench.models.loading import built, configuration, loaded, readable
from unlearnbench.models.vetted import ELSE
from unlearnbench.models.weightless import weightless

if TYPE_CHECKING:
    from torch import nn

ENTRIES = 32
"""The most modules and parameters per tensor in the files; a config.json with more describes layers that are absent."""


def skeleton(folder: Path) -> nn.Module:
    """Return a folder's model on the meta device.

    Raises UserError if its weights do not match its config.json. 4-bit weights do not record shapes, so only their
    number is compared.
    """
    tensors, size = _extent(vetted.weights(folder))
    what, config = f"the model in {folder}", folder / "config.json"
    with readable(what), _at_most(ENTRIES * tensors + 1000):
        model, found = _without_memory(folder)
    missing, other = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    if missing or other:
        wrong = f"{missing[0]} is missing" if missing else "{} has the shape {}, not {}".format(*other[0])
        raise UserError(f"{folder} does not hold the weights of its config.json: {wrong}.\n{ELSE}")
    tables = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if tables > 4 * size + 2**30 or sum(parameter.numel() for parameter in model.parameters()) > 4 * size:
        raise UserError(f"{config} describes more weights than the {size} bytes in the folder.\n{ELSE}")
    return model


def _extent(files: Sequence[Path]) -> tuple[int, int]:
    """Return how many tensors and bytes the files hold."""
    from safetensors import safe_open

    tensors = 0
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            tensors += len(opened.keys())
    return tensors, sum(file.stat().st_size for file in files)


def _without_memory(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model on the meta device, and the weights that are not in the files."""
    if getattr(configuration(folder), "quantization_config", None):
        with weightless():
            return built(folder), {"missing_keys": [], "mismatched_keys": []}
    with _quiet():
        model, found = loaded(
            folder, {"device_map": "meta", "output_loading_info": True, "ignore_mismatched_sizes": True}
        )
    return model, found


@contextmanager
def _at_most(entries: int) -> Iterator[None]:
    """Raise ValueError if more than `entries` modules and parameters are made in the block."""
    from torch.nn.modules import module

    made = count(1)

    def counted(*_what: object) -> None:
        if next(made) > entries:
            raise ValueError("config.json describes more layers than there are weights")

    hooks = (
        module.register_module_module_registration_hook(counted),
        (module.register_module_parameter_registration_hook(counted)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' table of missing weights inside the block."""
    from transformers.utils import logging as hub_logging

    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)
