"""Low-rank adapters, trained instead of a language model's own weights.

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
    from peft import LoraConfig, PeftModel  # takes seconds to import, so only runs with an adapter do


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A low-rank adapter of rank `r` on the named linear layers, scaled by alpha / r; r = 0 trains all weights."""

    r: Annotated[int, Field(ge=0, le=1024)]
    alpha: Annotated[int, Field(ge=1, le=2**16)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: tuple[str, ...]


@contextmanager
def _evaluating(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put modules into evaluation mode inside the block, then restore those that were training."""
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class AdapterOff(nn.Module):
    """The model without its adapter: a frozen reference that shares the model's weights, so nothing is copied.

    It always runs in evaluation mode, even while the model trains: dropout would make the reference vary.
    """

    def __init__(self, model: PeftModel) -> None:
        super().__init__()
        self._model = (model,)  # in a tuple: as a submodule, its parameters would count twice
        self._parts = tuple(model.modules())  # once: walking 1,600 modules at every step takes milliseconds

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the model in evaluation mode with its adapter disabled, then restore each module's mode."""
        model = self._model[0]
        with _evaluating(self._parts), model.disable_adapter():
            return model(*inputs, **named)

    def generate(self, *inputs: Any, **named: Any) -> Any:
        """Continue prompts as the shared model does, in evaluation mode with its adapter disabled."""
        model: Any = self._model[0]
        with _evaluating(self._parts), model.disable_adapter():
            return model.generate(*inputs, **named)

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
    """Raise UserError for targets that are not linear layers of the model.

    peft would fail or skip them.
    """
    importlib.import_module("peft")  # here, so that the import is not counted in a stage's seconds
    linear = [name for name, module in model.named_modules() if _is_linear(module)]
    layers = sorted({name.rpartition(".")[2] for name in linear})
    wrong = [target for target in adapter.targets if not any(f".{name}".endswith(f".{target}") for name in linear)]
    if wrong or not adapter.targets:
        hint = nearest(wrong[0], layers) if wrong else ""
        raise UserError(
            f"model.adapter.targets: expected linear layers, got {', '.join(wrong) or 'none'}.{hint}\n"
            f"The model has: {', '.join(layers)}.\nTry: 'model.adapter.targets=[{', '.join(layers[:2])}]'"
        )


def _is_linear(module: nn.Module) -> bool:
    """Return whether peft can adapt this layer: nn.Linear, a subclass of it, or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def attach(model: nn.Module, adapter: Adapter) -> PeftModel:
    """Freeze the model and add a new adapter to it; its weights come from the global generator."""
    from peft import PeftModel, get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft's own call
        with_adapter = get_peft_model(model, configuration(adapter))
    if getattr(model, "is_activation_checkpointing", False):
        with_adapter.enable_input_require_grads()  # else no gradient reaches the adapter through the checkpoints
    assert isinstance(with_adapter, PeftModel)
    return with_adapter


def state_of(model: PeftModel) -> dict[str, Tensor]:
    """Return the adapter's tensors by name."""
    from peft import get_peft_model_state_dict

    return {name: tensor.detach() for name, tensor in get_peft_model_state_dict(model).items()}


def load(model: PeftModel, state: dict[str, Tensor]) -> None:
    """Load these tensors into the adapter."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(model, state)


def merge(model: PeftModel) -> nn.Module:
    """Add the adapter to the weights, in their own number format, and return the plain model.

    4-bit weights would round the change away, so there it is kept beside them.
    """
    merged: nn.Module = four_bit.fold(model) if four_bit.layers(model) else model.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # 4-bit weights are bytes, which have no gradient
    return merged


def scale(model: PeftModel, factor: float) -> None:
    """Multiply the adapter's change by `factor`, like peft's `add_weighted_adapter`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.mul_(factor)


def shares(reference: nn.Module, model: nn.Module) -> bool:
    """Return whether the reference is this same model with its adapter off."""
    return isinstance(reference, AdapterOff) and reference._model[0] is model


def is_zero(model: PeftModel) -> bool:
    """Return whether the adapter changes nothing."""
    return not any(bool(value.any()) for name, value in model.named_parameters() if "lora_B" in name)
