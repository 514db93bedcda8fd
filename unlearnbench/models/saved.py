"""A language model in a run folder: merged model, adapter and prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unlearnbench.contracts import ModelSpec, Task
from unlearnbench.graph.artefact import Artefact
from unlearnbench.models import four_bit, vetted
from unlearnbench.models.adapter import Adapter, configuration
from unlearnbench.models.loading import loaded, readable
from unlearnbench.models.prefix import NAME, Prefixed, inner
from unlearnbench.models.skeleton import skeleton
from unlearnbench.models.start import adapter_of
from unlearnbench.models.weights import PREFIX

if TYPE_CHECKING:
    from peft import LoraConfig

PROMPT, ORIGINAL, ADAPTER = "prompt.safetensors", "original", "adapter_model.safetensors"


def write(
    target: Path,
    model: nn.Module,
    task: Task,
    spec: ModelSpec,
    artefact: Artefact,
    original: Callable[[], nn.Module],
    home: Path,
) -> None:
    """Write the merged model and tokenizer, the unlearning's adapter and the prompt.

    An adapter only fits the original it was trained on. So we save that original beside it, and the adapter's
    configuration gives its path below `home`, where `target` is moved when the run is published. A 4-bit model is not
    merged: its folder holds the 4-bit weights, and everything that was learned as one adapter.
    """
    adapter = adapter_of(spec)
    if four_bit.layers(model):
        _write_four_bit(target, model, task)
    else:
        task.save(model, target)
        if artefact.facts["adapter"] and adapter is not None:
            task.save(original(), target / ORIGINAL)
            peft = configuration(adapter)
            peft.base_model_name_or_path = str(home / ORIGINAL)
            tensors = {name: tensor for name, tensor in artefact.tensors.items() if not name.startswith(PREFIX)}
            _write_adapter(target / "adapter", peft, tensors)
    if isinstance(model, Prefixed):
        save_file({NAME: model.prefix.cpu(), "replaced_tokens": torch.tensor(model.replaced)}, target / PROMPT)


def _write_four_bit(target: Path, model: nn.Module, task: Task) -> None:
    """Write 4-bit weights and, in the same folder, their change as an adapter.

    transformers loads both together.
    """
    with four_bit.changes_apart(inner(model)) as changes:
        task.save(model, target)
        if not changes:
            return
        rank = max(len(down) for down, _ in changes.values())
        peft = configuration(Adapter(r=rank, alpha=rank, dropout=0.0, targets=tuple(sorted(changes))))
        tensors = {
            f"base_model.model.{name}.lora_A.weight": _filled(down, 0, rank) for name, (down, _) in changes.items()
        }
        tensors |= {f"base_model.model.{name}.lora_B.weight": _filled(up, 1, rank) for name, (_, up) in changes.items()}
        _write_adapter(target, peft, tensors)


def _filled(tensor: Tensor, dim: int, rank: int) -> Tensor:
    """Return a change's matrix with zeros up to this rank: an adapter has one, and layers may have learned less."""
    shape = list(tensor.shape)
    shape[dim] = rank - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


def _write_adapter(target: Path, peft: LoraConfig, tensors: Mapping[str, Tensor]) -> None:
    peft.save_pretrained(str(target))
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, target / ADAPTER)


def read(source: Path) -> nn.Module:
    """Return the merged model with its prompt, in evaluation mode on the CPU.

    Raises UserError if damaged. The folder may be a stranger's: only files inside it are read, and no code from it is
    run.
    """
    quantised = "quantization_config" in vetted.read(source / "config.json")
    vetted.check(source, adapter=quantised)
    if (source / vetted.ADAPTER).exists():
        vetted.check_adapter(source)
    vetted.weights(source) if quantised else skeleton(source)
    with readable(f"the model in {source}"):
        plain: Any = loaded(source, {"device_map": {"": "cpu"}} if quantised else {})
    four_bit.as_stored(plain)
    if not (source / PROMPT).exists():
        model: nn.Module = plain.eval()
        return model
    with readable(str(source / PROMPT)):
        prompt = load_file(source / PROMPT)
        return Prefixed(plain, prompt[NAME], int(prompt["replaced_tokens"])).eval()
