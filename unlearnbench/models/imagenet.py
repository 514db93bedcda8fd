"""ImageNet weights for image models, from the Hugging Face hub or your own file; safetensors only.

On the hub we use timm's collection, through the client that timm uses: its local cache first, then the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from unlearnbench.errors import UserError
from unlearnbench.files.hub import Absent, fetched
from unlearnbench.models.checkpoint import compare
from unlearnbench.models.start import Base
from unlearnbench.models.weight_files import judge, safetensors

ELSE = "model.pretrained=FILE.safetensors with torchvision's or timm's names of the weights, or model.pretrained=false"
NAME = "model.safetensors"


def file_of(pretrained: bool | Path, hub: str | None) -> Path:
    """Return the file that `pretrained` means: that path, or for true the hub's weights.

    Raises UserError if the file is not available or not safetensors.
    """
    if isinstance(pretrained, bool):
        return _from_hub(hub)
    if not pretrained.is_file():
        raise UserError(f"model.pretrained={pretrained} is not a file.\nTry: {ELSE}, or model.pretrained=true")
    if pretrained.suffix != ".safetensors":
        raise UserError(
            f"model.pretrained={pretrained} is not .safetensors; pickled weights can run code and are not read.\n"
            "Try: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    return pretrained


def check(pretrained: bool | Path, hub: str | None, base: Base | None, checkpoint: Path | None) -> None:
    """Raise UserError if the weights are not available, or if nobody said what a file of one's own has seen."""
    if pretrained is not False:
        file_of(pretrained, hub)
    if isinstance(pretrained, Path) and base is None and checkpoint is None:
        raise UserError(
            f"model.pretrained={pretrained}: the original and the retrained model would both start from these weights. "
            "If they have seen the forget images, every comparison with the retrained model is wrong.\n"
            f"Try: model.checkpoint={pretrained}, if this is your trained model, which should forget,\n"
            "     or model.base=clean, if these weights never saw the forget images (such as ImageNet weights),\n"
            "     or model.base=unknown, if you cannot tell: every table will say so"
        )


def files(pretrained: bool | Path, hub: str | None) -> dict[str, Path]:
    """Return the weights file under its name in keys; empty without pretrained weights."""
    return {} if pretrained is False else {"weights": file_of(pretrained, hub)}


def read(pretrained: bool | Path, hub: str | None) -> dict[str, Tensor]:
    """Return the weights by name; raise UserError if they are not available or cannot be read."""
    file = file_of(pretrained, hub)
    return safetensors(file, str(file), f"Try: {ELSE}")


def load(model: nn.Module, state: Mapping[str, Tensor], head: str, pretrained: bool | Path) -> nn.Module:
    """Load the weights into the model, leaving the submodule `head` as it is; return the model.

    Raises UserError that lists the differences in names or shapes.
    """
    kept, own = without(state, head), model.state_dict()
    compare(kept, without(own, head), f"model.pretrained={shown(pretrained)}", ELSE)
    judge(kept, own, f"model.pretrained={shown(pretrained)}")
    model.load_state_dict(kept, strict=False)
    return model


def without(state: Mapping[str, Tensor], *modules: str) -> dict[str, Tensor]:
    """Return the weights that are not in the named submodules."""
    prefixes = tuple(f"{module}." for module in modules)
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def shown(pretrained: bool | Path) -> str:
    """Return the setting as the user types it."""
    return str(pretrained).lower() if isinstance(pretrained, bool) else str(pretrained)


@cache
def _from_hub(hub: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    if hub is None:
        raise UserError(f"model.pretrained=true: there are no published weights for this architecture.\nTry: {ELSE}")
    try:
        return fetched(lambda local: hf_hub_download(hub, NAME, local_files_only=local))
    except Absent as reason:
        raise UserError(
            f"model.pretrained=true: {NAME} of {hub} is not in the hub's cache and could not be downloaded: absent, or "
            f"no network ({reason}).\nTry: {ELSE}, or a preset's scale=cpu"
        ) from reason
