"""Weights trained on ImageNet, for image models: the Hugging Face hub's or a file of yours; safetensors alone.

The hub's are timm's collection, by the client that timm uses: its local cache first, then the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from torch import Tensor, nn

from unlearnbench.errors import UserError
from unlearnbench.models.checkpoint import compare
from unlearnbench.models.hub import Absent, fetched
from unlearnbench.models.weight_files import judge, safetensors

ELSE = "model.pretrained=FILE.safetensors with the weights as torchvision or timm names them, or model.pretrained=false"
NAME = "model.safetensors"


def file_of(pretrained: bool | Path, hub: str | None) -> Path:
    """Return the file that `pretrained` means: itself, or at true the weights of the hub's repository.

    Raises UserError where it cannot be had, or is no safetensors.
    """
    if isinstance(pretrained, bool):
        return _from_hub(hub)
    if not pretrained.is_file():
        raise UserError(f"model.pretrained={pretrained} is no file.\nTry: {ELSE}, or model.pretrained=true")
    if pretrained.suffix != ".safetensors":
        raise UserError(
            f"model.pretrained={pretrained} is no .safetensors; pickled weights are not read, they run code.\n"
            "Try: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        )
    return pretrained


def files(pretrained: bool | Path, hub: str | None) -> dict[str, Path]:
    """Return the file of weights under the name that keys have for it; nothing where there are none."""
    return {} if pretrained is False else {"weights": file_of(pretrained, hub)}


def read(pretrained: bool | Path, hub: str | None) -> dict[str, Tensor]:
    """Return the weights by name; raise UserError where they cannot be had or read."""
    file = file_of(pretrained, hub)
    return safetensors(file, str(file), f"Try: {ELSE}")


def load(model: nn.Module, state: Mapping[str, Tensor], head: str, pretrained: bool | Path) -> nn.Module:
    """Give the model the weights, all but those of the submodule `head`, which stay as they are; return it.

    Raises UserError with what differs in names or shapes.
    """
    kept, own = without(state, head), model.state_dict()
    compare(kept, without(own, head), f"model.pretrained={shown(pretrained)}", ELSE)
    judge(kept, own, f"model.pretrained={shown(pretrained)}")
    model.load_state_dict(kept, strict=False)
    return model


def without(state: Mapping[str, Tensor], *modules: str) -> dict[str, Tensor]:
    """Return the weights without those of the named submodules."""
    prefixes = tuple(f"{module}." for module in modules)
    return {name: tensor for name, tensor in state.items() if not name.startswith(prefixes)}


def shown(pretrained: bool | Path) -> str:
    """Return the setting as a user types it."""
    return str(pretrained).lower() if isinstance(pretrained, bool) else str(pretrained)


@cache
def _from_hub(hub: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    if hub is None:
        raise UserError(f"model.pretrained=true: nobody published weights of this architecture.\nTry: {ELSE}")
    try:
        return fetched(lambda local: hf_hub_download(hub, NAME, local_files_only=local))
    except Absent as reason:
        raise UserError(
            f"model.pretrained=true: {NAME} of {hub} is not in the hub's cache and cannot be had: absent, or no "
            f"network ({reason}).\nTry: {ELSE}, or a preset's scale=cpu"
        ) from reason
