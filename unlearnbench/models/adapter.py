"""Low-rank adapters: what is trained instead of a language model's own weights.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685; peft's implementation.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.errors import UserError, nearest
from unlearnbench.models import four_bit

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel  # its import takes seconds: runs without an adapter do without it


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A low-rank adapter of rank `r` on the named linear layers, scaled by alpha / r; r = 0 trains all weights."""

    r: Annotated[int, Field(ge=0, le=1024)]
    alpha: Annotated[int, Field(ge=1, le=2**16)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: tuple[str, ...]


@contextmanager
def _evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode inside the block; those that were training train again after it."""
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class AdapterOff(nn.Module):
    """The model without its adapter: a frozen reference that shares the model's weights and costs no copy.

    It always runs in evaluation mode, also while the model trains: dropout would make a reference differ from itself.
    """

    def __init__(self, model: PeftModel) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: a submodule would count its parameters twice
        self._parts = tuple(model.modules())  # once: a walk through 1,600 modules takes milliseconds, at every step

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the model with its adapter disabled, in evaluation mode; leave the mode of each module as it was."""
        model = self._model[0]
        with _evaluating(self._parts), model.disable_adapter():
            return model(*inputs, **named)

    @property
    def config(self) -> Any:
        """The shared model's configuration."""
        return self._model[0].config

    def get_output_embeddings(self) -> nn.Module:
        """Return the shared model's output layer."""
        head: nn.Module = self._model[0].get_output_embeddings()
        return head

    def get_submodule(self, target: str) -> nn.Module:
        """Return the shared model's submodule."""
        return self._model[0].get_submodule(target)

    def named_modules(self, *inputs: Any, **named: Any) -> Any:
        """Yield the shared model's submodules."""
        return self._model[0].named_modules(*inputs, **named)


def configuration(adapter: Adapter) -> LoraConfig:
    """Return peft's configuration of the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets),
    )


def check(model: nn.Module, adapter: Adapter) -> None:
    """Raise UserError for targets that name no linear layer of the model: peft fails, or leaves them out."""
    importlib.import_module("peft")  # here, so that no stage's seconds hold it
    linear = [name for name, module in model.named_modules() if _is_linear(module)]
    layers = sorted({name.rpartition(".")[2] for name in linear})
    wrong = [target for target in adapter.targets if not any(f".{name}".endswith(f".{target}") for name in linear)]
    if wrong or not adapter.targets:
        hint = nearest(wrong[0], layers) if wrong else ""
        raise UserError(
            f"model.adapter.targets names {', '.join(wrong) or 'no layer'}: linear layers were expected.{hint}\n"
            f"The model has: {', '.join(layers)}.\nTry: 'model.adapter.targets=[{', '.join(layers[:2])}]'"
        )


def _is_linear(module: nn.Module) -> bool:
    """Return whether peft can adapt this layer: a linear one, also of an architecture's own class, or GPT-2's."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def attach(model: nn.Module, adapter: Adapter) -> PeftModel:
    """Return the model with a fresh adapter, its other weights frozen; weights are drawn from the global generator."""
    from peft import PeftModel, get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft's own call
        with_adapter = get_peft_model(model, configuration(adapter))
    if getattr(model, "is_activation_checkpointing", False):
        with_adapter.enable_input_require_grads()  # else nothing that is trained lies on a checkpoint's path
    assert isinstance(with_adapter, PeftModel)
    return with_adapter


def state_of(model: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's tensors by name."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach() for name, tensor in get_peft_model_state_dict(model).items()}


def load(model: PeftModel, state: dict[str, Tensor]) -> None:
    """Give the adapter these tensors."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, state)


def merge(model: PeftModel) -> nn.Module:
    """Add the adapter to the weights, in their own number format, and return the plain model.

    Weights in 4 bits would round it away: there it stays beside them.
    """
    merged: nn.Module = four_bit.fold(model) if four_bit.layers(model) else model.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # 4-bit weights are bytes, which have no gradient
    return merged


def scale(model: PeftModel, factor: float) -> None:
    """Multiply the change that the adapter makes; -1 is peft's `add_weighted_adapter` with a weight of -1."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(factor)


def shares(reference: nn.Module, model: nn.Module) -> bool:
    """Return whether the reference is this very model without its adapter."""
    return isinstance(reference, AdapterOff) and reference._model[0] is model


def is_zero(model: PeftModel) -> bool:
    """Return whether the adapter changes nothing."""
    return not any(bool(value.any()) for name, value in model.named_parameters() if "lora_B" in name)
