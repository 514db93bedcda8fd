"""4-bit weights, which never change: whatever an adapter learns is kept beside them.

Dettmers, Pagnoni, Holtzman, Zettlemoyer: QLoRA, NeurIPS 2023, arXiv:2305.14314; bitsandbytes' NF4.
Adding an adapter to 4-bit weights would round them again and lose every change below half a step of the grid.
So `fold` keeps the change apart, as two matrices per layer. An original is the 4-bit weights plus one change;
unlearning adds its ranks to that change; a folder holds the weights once, and the change as an adapter.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    from peft import PeftModel

DOWN, UP = "change_down", "change_up"
COMPUTE = torch.bfloat16
"""4-bit layers compute in this format, and transformers loads their adapter in it, so changes are stored in it."""


def check(r: int) -> None:
    """Raise UserError if bitsandbytes is missing or the adapter's rank `r` is 0."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "model.load_in_4bit=true needs the package bitsandbytes (for CUDA or a CPU), which is not installed.\n"
            "Try: pip install 'unlearnbench[4bit]', or model.load_in_4bit=false"
        )
    if r == 0:
        raise UserError(
            "model.load_in_4bit=true needs an adapter: 4-bit weights cannot be trained.\n"
            "Try: model.adapter.r=16, or model.load_in_4bit=false"
        )


def read(folder: Path) -> nn.Module:
    """Return a causal language model with 4-bit linear layers, on the CPU.

    The run moves it to its device.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    nf4: Any = BitsAndBytesConfig
    config = nf4(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=COMPUTE)
    model: nn.Module = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, local_files_only=True, trust_remote_code=False,
        quantization_config=config, device_map={"": "cpu"},
    )  # fmt: skip
    return as_stored(model)


def as_stored(model: nn.Module) -> nn.Module:
    """Make 4-bit layers compute from the stored weights in both modes; return the model.

    On a CPU with AVX512-BF16, bitsandbytes repacks them at the first forward pass in evaluation mode. That rounds
    their scales, cannot be undone exactly, and lets no gradient through.
    """
    for layer in layers(model).values():
        layer.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    return model


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers with 4-bit weights by name; empty for a model in another format."""
    return {name: module for name, module in model.named_modules() if _is_four_bit(module)}


def is_stored_weight(name: str, names: Mapping[str, nn.Module]) -> bool:
    """Return whether a state dict entry is a layer's 4-bit weight or quantisation state."""
    layer, _, rest = name.partition(".weight")
    return layer in names and (not rest or rest.startswith("."))


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy that shares the 4-bit weights."""
    shared = (one for layer in layers(model).values() for one in (layer.weight, layer.quant_state))
    return copy.deepcopy(model, {id(one): one for one in shared})


def fold(model: PeftModel) -> nn.Module:
    """Return the plain model: the change is kept beside 4-bit weights and added to all others."""
    from peft.tuners.lora import LoraLayer

    adapted: list[Any] = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in adapted:
        base = layer.get_base_layer()
        if not _is_four_bit(base):
            layer.merge()
            continue
        for name in layer.active_adapters:
            up = layer.lora_B[name].weight.detach() * layer.scaling[name]
            add(base, layer.lora_A[name].weight.detach(), up)
    with_adapter: Any = model
    plain: nn.Module = with_adapter.unload()
    return plain


def add(layer: nn.Module, down: Tensor, up: Tensor) -> None:
    """Add the change `up @ down`, (out, r) @ (r, in), to a 4-bit layer.

    Ranks of several changes add up.
    """
    down, up = down.to(COMPUTE), up.to(COMPUTE)
    if hasattr(layer, DOWN):
        down, up = torch.cat([layer.get_buffer(DOWN), down]), torch.cat([layer.get_buffer(UP), up], dim=1)
        setattr(layer, DOWN, down)
        setattr(layer, UP, up)
        return
    layer.register_buffer(DOWN, down.clone())
    layer.register_buffer(UP, up.clone())
    layer.register_forward_hook(_added)


def restore(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Add the changes in a state dict to a freshly loaded model, so that the state dict fits."""
    for name, layer in layers(model).items():
        if f"{name}.{DOWN}" in state:
            add(layer, state[f"{name}.{DOWN}"], state[f"{name}.{UP}"])


@contextmanager
def changes_apart(model: nn.Module) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Remove the changes from the layers inside the block, and yield (down, up) by layer name."""
    found = {name: layer for name, layer in layers(model).items() if hasattr(layer, DOWN)}
    changes = {name: (layer.get_buffer(DOWN), layer.get_buffer(UP)) for name, layer in found.items()}
    for layer in found.values():
        del layer._buffers[DOWN], layer._buffers[UP]
    try:
        yield changes
    finally:
        for name, (down, up) in changes.items():
            found[name]._buffers.update({DOWN: down, UP: up})


def _is_four_bit(module: object) -> bool:
    return type(module).__name__ == "Linear4bit" and type(module).__module__.startswith("bitsandbytes.")


def _added(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Add the change in the same order and number formats as peft's own layer."""
    down, up = layer.get_buffer(DOWN), layer.get_buffer(UP)
    change = functional.linear(functional.linear(inputs[0].to(down.dtype), down), up)
    return output + change.to(output.dtype)
