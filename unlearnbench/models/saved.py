"""A language model in a run folder: as `save_pretrained` writes it, its adapter over the original, and its prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unlearnbench.cache import Artefact
from unlearnbench.models.adapter import configuration
from unlearnbench.models.prefix import NAME, Prefixed
from unlearnbench.models.start import adapter_of
from unlearnbench.models.weights import PREFIX
from unlearnbench.problem import ModelSpec, Task

PROMPT, ORIGINAL = "prompt.safetensors", "original"


def write(
    target: Path,
    model: nn.Module,
    task: Task,
    spec: ModelSpec,
    artefact: Artefact,
    original: Callable[[], nn.Module],
    home: Path,
) -> None:
    """Write the merged model and tokenizer, the adapter of the unlearning alone, and the prompt's tokens.

    An adapter changes nothing but the original that it was trained on, which is written beside it and named in its
    configuration: by its place below `home`, where `target` goes when the run is published.
    """
    task.save(model, target)
    adapter = adapter_of(spec)
    if artefact.facts["adapter"] and adapter is not None:
        task.save(original(), target / ORIGINAL)
        peft = configuration(adapter)
        peft.base_model_name_or_path = str(home / ORIGINAL)
        peft.save_pretrained(str(target / "adapter"))
        tensors = {name: tensor for name, tensor in artefact.tensors.items() if not name.startswith(PREFIX)}
        save_file(tensors, target / "adapter" / "adapter_model.safetensors")
    if isinstance(model, Prefixed):
        save_file({NAME: model.prefix.cpu(), "replaced_tokens": torch.tensor(model.replaced)}, target / PROMPT)


def read(source: Path) -> nn.Module:
    """Return the merged model behind its prompt, in evaluation mode on the CPU."""
    from transformers import AutoModelForCausalLM

    plain: Any = AutoModelForCausalLM.from_pretrained(source, local_files_only=True, use_safetensors=True)
    if not (source / PROMPT).exists():
        model: nn.Module = plain.eval()
        return model
    prompt = load_file(source / PROMPT)
    return Prefixed(plain, prompt[NAME], int(prompt["replaced_tokens"])).eval()
