"""A model in hand, as the methods see one: its parts, its copies, and what it was before training."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.errors import UserError, nearest
from unlearnbench.models import weights
from unlearnbench.models.adapter import Adapter
from unlearnbench.models.four_bit import copied
from unlearnbench.models.modes import evaluating
from unlearnbench.models.wrapper import Wrapper, inner
from unlearnbench.python.bound import Fresh

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageModel:
    """An image model in hand. Without `fresh`, a copy whose layers reset themselves stands for the untrained model."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    checkpoint: ClassVar[Path | None] = None
    model: nn.Module
    named: Parts
    fresh: Fresh | None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the model with random weights."""
        return copied(self.fresh()) if self.fresh is not None else _reset(copied(self.model))

    def parts(self) -> Parts:
        """Name the classifier, the blocks and the layer to mask."""
        return self.named


@dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """A language model in hand, with its tokenizer; trained whole, or through a new low-rank adapter."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    checkpoint: ClassVar[Path | None] = None
    model: nn.Module
    words: PreTrainedTokenizerBase
    named: Parts
    fresh: Fresh | None
    adapter: Adapter | None

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens that the model was made for, or None if unknown."""
        found: int | None = getattr(self.model.config, "max_position_embeddings", None)
        return found

    def build(self, info: DataInfo) -> nn.Module:
        """Return the model as it was before training."""
        return self.start(info)

    def start(self, info: DataInfo) -> nn.Module:
        """Return the model as it was before training; raise UserError if nobody said what that is."""
        if self.fresh is None:
            raise UserError(
                "this method needs the language model as it was before it saw the data.\n"
                "Try: fresh=lambda: AutoModelForCausalLM.from_pretrained(BASE), or another method, such as 'npo'"
            )
        return copied(self.fresh())

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """Return the tokenizer that came with the model."""
        return self.words

    def parts(self) -> Parts:
        """Name the output layer, the blocks and what follows them."""
        return self.named


def plain(model: nn.Module) -> nn.Module:
    """Return a model that may be read but not changed, its adapter merged in a copy; refuse one inside a wrapper."""
    if isinstance(model, Wrapper):
        raise UserError(
            "there is a prompt or a filter around the model, so it cannot be unlearned again.\nTry: the model inside it"
        )
    return weights.merged(copied(model)) if weights.has_adapter(model) else model


def single(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose floats are 32 bits, which is what training needs."""
    found = copied(model).eval()
    for tensor in (*found.parameters(), *found.buffers()):
        if tensor.is_floating_point() and tensor.dtype in (torch.float16, torch.bfloat16, torch.float64):
            tensor.data = tensor.data.float()
    return found


def meta(model: nn.Module) -> nn.Module:
    """Return a copy without memory for its weights: what a method's check looks at."""
    known: dict[int, Any] = {
        id(one): nn.Parameter(one.detach().to("meta"), requires_grad=one.requires_grad) for one in model.parameters()
    }
    known |= {id(one): one.detach().to("meta") for one in model.buffers()}
    return copy.deepcopy(model, known)


def returned(model: nn.Module, like: nn.Module) -> nn.Module:
    """Give a model the devices, number formats and memory layouts of `like`; return it in evaluation mode."""
    theirs: Mapping[str, Tensor] = {**dict(like.named_parameters()), **dict(like.named_buffers())}
    first = next(iter(theirs.values()))
    model.to(first.device)
    mine: Any = inner(model)
    for name, tensor in (*mine.named_parameters(), *mine.named_buffers()):
        known = theirs.get(name)
        if known is not None and known.shape == tensor.shape:
            tensor.data = torch.empty_like(known, requires_grad=False).copy_(tensor.data)
            if isinstance(tensor, nn.Parameter):
                tensor.requires_grad_(known.requires_grad)
                tensor.grad = None
    return model.eval()


def classes_of(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many classes a model tells apart; raise UserError if it cannot take images (c, h, w)."""
    first = next(model.parameters(), None)
    if first is None:
        raise UserError("the model has no parameters, so there is nothing to unlearn.")
    images = torch.zeros(2, *shape, device=first.device, dtype=first.dtype)
    try:
        with evaluating(model), torch.no_grad():
            logits = model(images)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"the model cannot take images of shape {shape}: {reason}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(
            f"the model returns {got} for 2 images, expected logits of shape (2, classes).\n"
            "Try: a wrapper whose forward returns the logits alone"
        )
    return int(logits.shape[1])


def image_parts(model: nn.Module, classes: int, given: Mapping[str, Any]) -> Parts:
    """Name an image model's parts: those in `given`, and the rest from its structure.

    The head is the last layer with one output per class, blocks are the submodules with weights before it, and the
    layer to mask is the last block.
    """
    names = [name for name, _ in model.named_modules()]
    _check_names(given, names)
    head = given.get("head", next((name for name, one in reversed(_named(model)) if _width(one) == classes), None))
    if head is None:
        raise UserError(
            f"no layer of the model has {classes} outputs, so its classifier cannot be found.\n"
            "Try: parts={'head': NAME}, with a name from model.named_modules()"
        )
    found = _before(model, head)
    if len(found) == 1:
        inside = _before(model.get_submodule(found[0]), "")
        found = tuple(f"{found[0]}.{name}" for name in inside) or found
    blocks = tuple(given.get("blocks", found or (head,)))
    return Parts(head=head, blocks=blocks, mask_layer=given.get("mask_layer", blocks[-1]))


def text_parts(model: nn.Module, given: Mapping[str, Any]) -> Parts:
    """Name a language model's parts: those in `given`, and the rest as transformers builds them."""
    from unlearnbench.models.pretrained import named_parts

    _check_names(given, [name for name, _ in model.named_modules()])
    if {"head", "blocks", "mask_layer"} <= given.keys():
        return Parts(head=given["head"], blocks=tuple(given["blocks"]), mask_layer=given["mask_layer"])
    if not callable(getattr(model, "get_output_embeddings", None)):
        raise UserError(
            f"{type(model).__name__} is not a causal language model of transformers.\n"
            "Try: AutoModelForCausalLM.from_pretrained(FOLDER)"
        )
    found = named_parts(model)
    return Parts(
        head=given.get("head", found.head),
        blocks=tuple(given.get("blocks", found.blocks)),
        mask_layer=given.get("mask_layer", found.mask_layer),
    )


def _named(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return list(model.named_modules())


def _width(layer: nn.Module) -> int | None:
    """Return how many outputs a linear or convolutional layer has."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None


def _before(model: nn.Module, head: str) -> tuple[str, ...]:
    """Return the children with weights, in order, but for the one that is or holds the head."""
    return tuple(
        name
        for name, child in model.named_children()
        if any(True for _ in child.parameters()) and not (head and f"{head}.".startswith(f"{name}."))
    )


def _check_names(given: Mapping[str, Any], names: list[str]) -> None:
    """Raise UserError for an unknown kind of part, or a submodule that the model does not have."""
    kinds = ("head", "blocks", "mask_layer")
    for kind, value in given.items():
        if kind not in kinds:
            raise UserError(f"parts: unknown part {kind!r}.{nearest(kind, kinds)}\nThe parts are: {', '.join(kinds)}")
        for name in [value] if isinstance(value, str) else value:
            if name not in names:
                raise UserError(
                    f"parts: the model has no submodule {name!r} ({kind}).{nearest(str(name), names)}\n"
                    "Try: a name from model.named_modules()"
                )


def _reset(model: nn.Module) -> nn.Module:
    """Give every layer new random weights from torch's global generator; raise UserError if one has no way to."""
    for name, layer in model.named_modules():
        own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        reset = getattr(layer, "reset_parameters", getattr(layer, "_reset_parameters", None))
        if callable(reset):
            reset()
        elif own:
            raise UserError(
                f"this method needs the model with random weights, and {name or 'the model'} "
                f"({type(layer).__name__}) has no reset_parameters().\n"
                "Try: fresh=lambda: MyModel(...), which returns a new model with random weights"
            )
    return model
