"""Any image model of timm, built for the size and classes of the data.

Wightman: PyTorch Image Models (2019), https://github.com/huggingface/pytorch-image-models, doi:10.5281/zenodo.4414861.
EfficientFormerV2's second classifier, meant for distillation, is left out, so that there is one classifier to name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.errors import UserError, nearest
from unlearnbench.models import imagenet
from unlearnbench.models.checkpoint import compare
from unlearnbench.models.head import Dropout
from unlearnbench.models.weight_files import judge
from unlearnbench.models.weightless import weightless


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """One of timm's image models, built for the size of the data's images.

    `architecture` is timm's name; `dropout` comes before the last layer; `pretrained` true means timm's weights for
    it. timm adapts their first layer to the channels, and their position tables to the image size if it can.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    architecture: str
    dropout: Dropout
    pretrained: bool | Path = field(metadata={"key": False})
    checkpoint: Path | None

    def check(self) -> None:
        """Raise UserError for a name unknown to timm, or pretrained weights that are not available."""
        self.parts()
        if self.pretrained is not False:
            imagenet.file_of(self.pretrained, _configuration(self.architecture).hf_hub_id)

    def files(self) -> dict[str, Path]:
        """Return the file of pretrained weights, if any; its content is part of every key."""
        return imagenet.files(self.pretrained, _configuration(self.architecture).hf_hub_id)

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network for the data set's image shape and classes, with random weights."""
        channels, side = info.shape[0], info.shape[1]
        _check_side(self.architecture, channels, side)
        return _create(self.architecture, len(info.classes), channels, side, self.dropout)

    def start(self, info: DataInfo) -> nn.Module:
        """Return the network with pretrained weights and a new last layer.

        Raises UserError if they do not fit.
        """
        configuration, heads = _configuration(self.architecture), _heads(self.architecture)
        kept = imagenet.without(imagenet.read(self.pretrained, configuration.hf_hub_id), *heads)
        if isinstance(self.pretrained, Path):  # the hub's files may use older names, which timm translates
            own = imagenet.without(self.build(info).state_dict(), *heads)
            alike = {name: own.get(name, tensor) for name, tensor in kept.items()}
            compare(alike, own, f"model.pretrained={self.pretrained}", imagenet.ELSE)
            judge(kept, own, f"model.pretrained={self.pretrained}")
        channels, side = info.shape[0], info.shape[1]
        try:
            return _create(self.architecture, len(info.classes), channels, side, self.dropout, kept)
        except RuntimeError as error:
            theirs = configuration.input_size[-1]
            raise UserError(
                f"model.pretrained={imagenet.shown(self.pretrained)}: the weights do not fit {self.architecture} at "
                f"{side} pixels and {channels} channels ({str(error).splitlines()[-1].strip()}).\n"
                f"Try: dataset.size={theirs}, or model.pretrained=false"
            ) from error

    def parts(self) -> Parts:
        """Name the classifier (the first of several), the blocks and the last feature map."""
        return _parts(self.architecture)


@cache
def _parts(architecture: str) -> Parts:
    channels, side = _configuration(architecture).input_size[:2]
    with weightless():
        model: Any = _create(architecture, 2, channels, side)
    names, heads = dict(model.named_modules()), _heads(architecture)
    if not heads[0] or heads[0] not in names:
        raise UserError(f"model.architecture={architecture} has no classifier.\nTry: model.architecture=resnet50")
    blocks = tuple(_blocks(model, heads))
    last = model.feature_info[-1]["module"] if getattr(model, "feature_info", None) else ""
    return Parts(head=heads[0], blocks=blocks, mask_layer=last if last in names else blocks[-1])


def _blocks(model: nn.Module, heads: tuple[str, ...]) -> Iterator[str]:
    """Yield submodules with weights, input to output, without classifiers; split sequences."""
    for name, child in model.named_children():
        if any(f"{head}.".startswith(f"{name}.") for head in heads) or not list(child.parameters()):
            continue
        if type(child) in (nn.Sequential, nn.ModuleList):
            yield from (f"{name}.{inner}" for inner, block in child.named_children() if list(block.parameters()))
        else:
            yield name


def _create(
    architecture: str, classes: int, channels: int, side: int, dropout: float = 0.0,
    state: Mapping[str, Tensor] | None = None,
) -> nn.Module:  # fmt: skip
    """Return timm's model for images (n, channels, side, side), with the weights in `state`."""
    import timm

    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    if _configuration(architecture).fixed_input_size:
        options["img_size"] = side
    if architecture.startswith("efficientformerv2"):
        options["distillation"] = False
    if dropout:
        options["drop_rate"] = dropout
    if state is not None:  # 0 classes fit no model, so timm leaves the classifier alone
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state), "num_classes": 0}}
    model: Any = timm.create_model(architecture, **options)
    model.pretrained_cfg.pop("state_dict", None)
    for module in model.modules():
        if hasattr(module, "attention_bias_cache"):
            module.register_forward_pre_hook(_forget)
    built: nn.Module = model
    return built


def _forget(module: Any, _inputs: object) -> None:
    """Drop cached attention biases.

    timm keeps them in evaluation mode, with a used graph or stale weights.
    """
    module.attention_bias_cache = {}


@cache
def _check_side(architecture: str, channels: int, side: int) -> None:
    """Raise UserError if the architecture cannot take images (n, channels, side, side)."""
    try:
        with weightless(), torch.no_grad():
            _create(architecture, 2, channels, side).eval()(torch.zeros(2, channels, side, side))
    except Exception as error:  # each architecture fails in its own way if a map gets too small or uneven
        reason = shorten((str(error).splitlines() or [type(error).__name__])[0], 80, placeholder=" ...")
        theirs, even = _configuration(architecture).input_size[-1], -(-side // 32) * 32
        raise UserError(
            f"model.architecture={architecture} cannot take {channels} channels of {side}x{side} ({reason}).\n"
            f"Try: dataset.size={f'{even}, or ' if even != side else ''}{theirs}, which it was made for"
        ) from error


def _heads(architecture: str) -> tuple[str, ...]:
    """Return the names of an architecture's classifiers, or ("",) if timm names none."""
    found = _configuration(architecture).classifier or ""
    return (found,) if isinstance(found, str) else tuple(found)


@cache
def _configuration(architecture: str) -> Any:
    """Return timm's record of an architecture's weights and input.

    Raises UserError for an unknown name.
    """
    import timm

    if not timm.is_model(architecture):
        raise UserError(
            f"model.architecture={architecture} is not a model of timm {timm.__version__}."
            f"{nearest(architecture, timm.list_models())}\n"
            "Try: python -c \"import timm; print(*timm.list_models('*NAME*'))\""
        )
    try:
        return timm.get_pretrained_cfg(architecture)
    except RuntimeError as error:
        name = architecture.partition(".")[0]
        raise UserError(
            f"model.architecture={architecture}: {name} has no weights of that name."
            f"{nearest(architecture, timm.list_pretrained(f'{name}.*'))}\nTry: model.architecture={name}"
        ) from error
