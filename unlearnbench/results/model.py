"""The unlearned model in a run folder: written so that it can be built again, read without running code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.graph.artefact import Artefact, Computed, write_artefact

if TYPE_CHECKING:
    from torch import nn


def write_model(folder: Path, values: Mapping[str, Any], info: DataInfo, artefact: Artefact) -> None:
    """Write the unlearned weights of an image model into model/, and what is needed to build it again.

    `values` is the model's configuration. A language model is written by `models.saved`.
    """
    target = folder / "model"
    data = {"classes": info.classes, "shape": info.shape, "kind": info.kind}
    write_artefact(target, Computed(artefact.tensors, {"model": values, "data": data}))
    (target / "tensors.safetensors").rename(target / "model.safetensors")
    (target / "facts.json").rename(target / "config.json")
    (target / "sums.json").unlink()


def load_model(folder: Path) -> nn.Module:
    """Return the unlearned model of a run folder, in evaluation mode on the CPU.

    The folder may be anybody's: nothing but its own files is read, and no code of it is run.
    """
    source = folder / "model"
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} is no run folder: it has no result.json.\nTry: outputs/runs/NAME, of a run")
    if damage := sums.damage(folder):
        raise UserError(
            f"{folder} is damaged: {sums.told(damage)}.\n"
            f"Try: the run again, which makes it anew from the cache; unlearnbench verify {shlex.quote(str(folder))}"
        )
    if not (source / "config.json").is_file():
        raise UserError(f"{folder} holds no model.\nTry: the run again with save_model=true")
    return model_in(source)


def model_in(source: Path) -> nn.Module:
    """Return the model of a run's model/ folder, which may be anybody's: only its own files are read, none is run."""
    from unlearnbench.models import rebuilt, saved, vetted

    facts = vetted.read(source / "config.json")
    return rebuilt.read(source, facts) if "data" in facts else saved.read(source)
