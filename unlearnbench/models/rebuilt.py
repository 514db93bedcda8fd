"""Rebuild an image model from a run folder, which may be a stranger's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.models import vetted, weights
from unlearnbench.models.weightless import weightless
from unlearnbench.request.config import build

AGAIN = "Try: run it again with save_model=true"
LARGEST = 10**5
"""Upper bound on an image's channels, height and width, and on the number of classes."""


def read(source: Path, facts: Mapping[str, Any]) -> nn.Module:
    """Return the model in evaluation mode on the CPU.

    Raises UserError if the weights do not fit the folder.
    """
    file, info = source / "model.safetensors", _info(source, facts)
    vetted.header(file, AGAIN)
    spec: Any = build({**facts["model"], "checkpoint": None}, "model")
    with weightless():
        described = sum(parameter.numel() for parameter in spec.build(info).parameters())
    with safe_open(str(file), framework="pt") as opened:
        shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118 - not a mapping
    held = sum(torch.Size(shape).numel() for shape in shapes)
    if described > held:
        raise UserError(f"{source}: config.json describes {described} weights, but {file.name} holds {held}.\n{AGAIN}")
    try:
        return weights.restore(spec.build(info), load_file(file)).eval()
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{file} does not fit its config.json: {error}\n{AGAIN}") from error


def _info(source: Path, facts: Mapping[str, Any]) -> DataInfo:
    data, model = facts.get("data"), facts.get("model")
    known = isinstance(data, dict) and isinstance(model, dict) and data.get("kind") == "image"
    shape, classes = (data.get("shape"), data.get("classes")) if known and isinstance(data, dict) else (None, None)
    sides = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and 0 < n <= LARGEST for n in shape)
    if not sides or not isinstance(classes, list) or not 0 < len(classes) <= LARGEST:
        raise UserError(f"{source / 'config.json'} does not say which images its model was trained on.\n{AGAIN}")
    assert isinstance(shape, list)
    return DataInfo(kind="image", classes=tuple(map(str, classes)), train=0, test=0, shape=tuple(shape))
