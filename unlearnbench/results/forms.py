"""The forms in which an unlearned model leaves: as its libraries read it, and in the form in which it came.

An image model is a file with a plain state dict, or a folder: timm's `local-dir:` for its models, ours for the others.
A language model is a folder of save_pretrained, with its tokenizer, or its adapter alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.models import masks, saved, vetted
from unlearnbench.models.checkpoint import NESTS
from unlearnbench.models.ensemble import MEMBERS, Ensemble, members
from unlearnbench.models.timm_model import TimmModel, described
from unlearnbench.models.weight_files import pickled, safetensors
from unlearnbench.request.config import build
from unlearnbench.results.model import model_in

if TYPE_CHECKING:
    from torch import Tensor, nn

PICKLES = (".pt", ".pth", ".th")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Exported:
    """A model in a run's `model/` folder, `source`, and the resolved configuration of its run."""

    source: Path
    config: Mapping[str, Any]

    @property
    def is_image(self) -> bool:
        """Return whether it is an image model."""
        return "data" in vetted.read(self.source / "config.json")

    def file(self, target: Path, suffix: str) -> list[str]:
        """Write an image model as one file; return what to tell the user."""
        import torch
        from safetensors.torch import save

        if not self.is_image:
            raise UserError(f"a language model does not fit into one {suffix} file.\nTry: --to FOLDER")
        model = model_in(self.source)
        state = plain(model)
        if suffix not in PICKLES:
            target.write_bytes(save(state, {"format": "pt"}))  # save_file would let nobody else read it
            return _members_told(model)
        came = None if isinstance(model, Ensemble) else self.config["model"].get("checkpoint")
        wrapped, told = _as_it_came(state, came)
        with target.open("wb") as file:
            torch.save(wrapped, file)
        return told + _members_told(model)

    def folder(self, target: Path) -> list[str]:
        """Write the model as a folder; return what to tell the user."""
        target.mkdir()
        if self.is_image:
            return self._image_folder(target)
        for file in sorted(self.source.iterdir()):
            if file.is_file():
                shutil.copyfile(file, target / file.name)
        for folder in saved.member_folders(self.source):
            shutil.copytree(folder, target / folder.name)
        if (target / saved.PROMPT).exists():
            return [
                f"the weights are the original's: what the method put around them, a prompt or a filter, is in "
                f"{saved.PROMPT}, which transformers does not read; unlearnbench.load(RUN) does"
            ]
        return []

    def adapter(self, target: Path) -> list[str]:
        """Write what unlearning added to the original, as an adapter that names the model it belongs to."""
        own = self.source / "adapter"
        whole = own if own.is_dir() else self.source  # beside 4-bit weights, it is in the model's folder
        if self.is_image or not (whole / vetted.ADAPTER).is_file():
            raise UserError("the method trained no adapter of its own.\nTry: without --adapter, for the whole model")
        base = self._beneath(in_4bit=whole is self.source)
        target.mkdir()
        shutil.copyfile(whole / vetted.ADAPTER_WEIGHTS, target / vetted.ADAPTER_WEIGHTS)
        found = {**vetted.read(whole / vetted.ADAPTER), "base_model_name_or_path": base}
        (target / vetted.ADAPTER).write_text(json.dumps(found, indent=2))
        return [f"the adapter belongs to {base}"]

    def _beneath(self, *, in_4bit: bool) -> str:
        """Return the model that the adapter belongs to: in 4 bits that of the weights, else the run's original."""
        model = self.config["model"]
        place = model.get("checkpoint")
        if isinstance(place, str) and not (Path(place) / vetted.ADAPTER).exists():
            return str(Path(place).resolve())
        if in_4bit:
            return str(Path(model["path"]).resolve()) if model.get("path") else str(model.get("hub"))
        if (self.source / saved.ORIGINAL).is_dir():
            return str((self.source / saved.ORIGINAL).resolve())
        raise UserError(
            "the adapter belongs to the run's original, which was not saved.\nTry: the run again with save_model=true"
        )

    def _image_folder(self, target: Path) -> list[str]:
        from safetensors.torch import save

        facts = vetted.read(self.source / "config.json")
        spec = build({**facts["model"], "checkpoint": None}, "model")
        if not isinstance(spec, TimmModel):
            for name in (WEIGHTS, "config.json"):
                shutil.copyfile(self.source / name, target / name)
            return []
        model, data = model_in(self.source), self.config["dataset"]
        config = described(spec, facts["data"]["shape"], facts["data"]["classes"], data["mean"], data["std"])
        for number, member in enumerate(members(model)):
            folder = target / f"{saved.MEMBER}{number}" if isinstance(model, Ensemble) else target
            folder.mkdir(exist_ok=True)
            (folder / WEIGHTS).write_bytes(save(plain(member), {"format": "pt"}))
            (folder / "config.json").write_text(json.dumps(config, indent=2))
        if isinstance(model, Ensemble):
            return ["timm reads each member's folder; unlearnbench.load(RUN) in Python joins their answers"]
        return ['timm reads it by timm.create_model("local-dir:FOLDER", pretrained=True)']


def _members_told(model: nn.Module) -> list[str]:
    """Return what to say of an ensemble's file: how its weights are named, and how its members are joined."""
    if not isinstance(model, Ensemble):
        return []
    how = "the mean of their probabilities" if model.aggregate == "mean" else "the majority of their votes"
    last = len(members(model)) - 1
    return [f"{last + 1} models that answer with {how}: their weights begin with {MEMBERS}.0. to {MEMBERS}.{last}."]


def plain(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights by name, each in memory of its own; raise UserError for what no state dict can hold."""
    state = model.state_dict()
    if any(masks.is_mask(name) for name in state):
        raise UserError(
            "this model has a mask of 0 and 1 beside its weights, which other libraries do not read.\n"
            "Try: unlearnbench.load(RUN) in Python, which does"
        )
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def _as_it_came(state: Mapping[str, Tensor], checkpoint: str | None) -> tuple[dict[str, Any], list[str]]:
    """Return a state dict with the wrapper and prefixes of the user's checkpoint, if there was one."""
    if checkpoint is None:
        return dict(state), []
    path = Path(checkpoint)
    if not path.is_file():
        return dict(state), [f"{path} is gone, so the file is a plain state dict, whatever that one was"]
    found: Any = safetensors(path, str(path)) if path.suffix == ".safetensors" else pickled(path, str(path))
    nests = []
    for name in NESTS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            nests.append(name)
            found = found[name]
    first = next(iter(state))
    fronts = {str(name).removesuffix(first) for name in found if str(name).endswith(first)}
    before = next((one for one in fronts if all(str(name).startswith(one) for name in found)), "")
    wrapped: dict[str, Any] = {before + name: tensor for name, tensor in state.items()}
    for name in reversed(nests):
        wrapped = {name: wrapped}
    told = [f"as in {path.name}: " + ", ".join([*(f"inside {name}" for name in nests), *([before] if before else [])])]
    return wrapped, told if nests or before else []
