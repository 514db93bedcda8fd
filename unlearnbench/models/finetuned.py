"""A language model that somebody trained: a folder of whole weights, or a LoRA adapter for its base.

Both are read without code. Of an adapter we read the numbers alone: which layers it changes and by which rank follows
from its tensors, so that no pattern and no module's name in its configuration is ever used.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from unlearnbench.errors import UserError
from unlearnbench.models import four_bit, vetted
from unlearnbench.models.adapter import merge
from unlearnbench.models.checkpoint import compare
from unlearnbench.models.loading import configuration, loaded, readable, tokenizer
from unlearnbench.models.skeleton import skeleton
from unlearnbench.models.vetted import ADAPTER, ADAPTER_WEIGHTS
from unlearnbench.models.weight_files import judge, safetensors

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

PATTERNS = [
    *("*.json", "*.safetensors", "*.jinja", "additional_chat_templates/*.jinja"),
    *("*.model", "*.model.*", "*.txt", "*.spm", "*.codes", "*.tiktoken"),
]
"""The files of a model's folder that transformers reads; never pickled weights."""
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
FREE = (
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache", "bos_token_id",
    "eos_token_id", "pad_token_id", "attention_dropout", "id2label", "label2id",
)  # fmt: skip
"""What two configurations may say differently, although their models compute the same."""
READ = ("peft_type", "lora_alpha", "alpha_pattern", "use_rslora", "fan_in_fan_out")
IGNORED = (
    "r", "rank_pattern", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "init_lora_weights",
)  # fmt: skip
"""Fields of an adapter's configuration that its tensors already tell, or that only matter in training."""
NAME = re.compile(r"base_model\.model\.([\w.]{1,500})\.lora_([AB])\.weight")
MERGED = "Try: the merged model (peft's merge_and_unload, then save_pretrained)"


@dataclass(frozen=True)
class Lora:
    """What is read of an adapter's configuration, and the rank of each layer that it changes."""

    alpha: float
    alphas: Mapping[str, float]
    rslora: bool
    transposed: bool
    ranks: Mapping[str, int]

    def configuration(self) -> LoraConfig:
        """Return peft's configuration of it."""
        from peft import LoraConfig

        return LoraConfig(
            task_type="CAUSAL_LM",
            r=next(iter(self.ranks.values())),
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            alpha_pattern=dict(self.alphas),
            rank_pattern=dict(self.ranks),
            target_modules=list(self.ranks),
            use_rslora=self.rslora,
            fan_in_fan_out=self.transposed,
        )


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (folder / ADAPTER).is_file()


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder brings a tokenizer of its own."""
    return any((folder / name).is_file() for name in TOKENIZER)


def files(folder: Path) -> dict[str, Path]:
    """Return the files of weights, configuration and tokenizer by name: their content is part of keys."""
    read = [file for pattern in PATTERNS for file in folder.glob(pattern) if file.is_file()]
    read += vetted.shards(folder)
    return {str(file.relative_to(folder)): file for file in read}


def check(folder: Path, like: nn.Module, what: str) -> None:
    """Raise UserError unless the folder holds a model, or an adapter, of the architecture of `like`.

    `like` is on the meta device, and `what` is what the user typed for the folder.
    """
    if not folder.is_dir():
        raise UserError(f"{what} is not a folder.\nTry: a folder of save_pretrained, of a model or of an adapter")
    vetted.check(folder, adapter=True)
    if is_adapter(folder):
        _adapted(like, folder, what)
    else:
        _check_whole(folder, like, what)
    if has_tokenizer(folder):
        _check_tokenizer(folder, like, what)


def load(folder: Path, start: Callable[[], nn.Module], what: str, *, in_4bit: bool = False) -> nn.Module:
    """Return the folder's model in its own number format; an adapter is merged into the model of `start`.

    Into 4-bit weights nothing is merged: there the change is kept beside them.
    """
    if is_adapter(folder):
        return merge(_adapted(start(), folder, what))
    with readable(f"{what}: the model"):
        model: nn.Module = four_bit.read(folder) if in_4bit else loaded(folder, {"dtype": "auto"})
    return model


def base_named(folder: Path) -> str:
    """Return the name or path of the model that an adapter says it belongs to, or ""."""
    named = vetted.read(folder / ADAPTER).get("base_model_name_or_path")
    return named if isinstance(named, str) else ""


def _check_whole(folder: Path, like: nn.Module, what: str) -> None:
    if not (folder / "config.json").is_file():
        raise UserError(f"{what} has neither config.json nor {ADAPTER}.\nTry: a folder of save_pretrained")
    if "quantization_config" in vetted.read(folder / "config.json"):
        raise UserError(
            f"{what} holds quantised weights.\n"
            "Try: the model in its own number format, with model.load_in_4bit=true if memory is short"
        )
    ours, theirs = _settings(getattr(like, "config", None)), _settings(configuration(folder))
    remedy = "the model that these weights were trained from"
    other = [key for key, value in ours.items() if key not in FREE and theirs.get(key) != value]
    if other:
        key = next((key for key in ("model_type", "vocab_size") if key in other), other[0])
        raise UserError(
            f"{what} is another architecture: its config.json says {key}={theirs.get(key)}, the model that retraining "
            f"starts from has {ours[key]}.\nTry: model.path=FOLDER or model.hub=NAME of {remedy}"
        )
    compare(skeleton(folder).state_dict(), like.state_dict(), what, f"model.path= of {remedy}")


def _settings(config: Any) -> dict[str, Any]:
    found: dict[str, Any] = config.to_dict()
    return found


def _check_tokenizer(folder: Path, like: Any, what: str) -> None:
    """Raise UserError for a tokenizer with tokens that the model has no embedding for."""
    most, rows = max(tokenizer(folder).get_vocab().values()), len(like.get_input_embeddings().weight)
    if most >= rows:
        raise UserError(
            f"{what} brings a tokenizer with token {most}; the model that retraining starts from has {rows} "
            "embeddings.\nTry: a base model to which the same tokens were added (resize_token_embeddings)"
        )


def _adapted(model: nn.Module, folder: Path, what: str) -> PeftModel:
    """Return the model with the folder's adapter beside its weights; raise UserError where it does not fit."""
    import torch
    from peft import get_peft_model

    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise UserError(f"{what} has {ADAPTER} but no {file.name}; pickled weights are not read.\n{MERGED}")
    vetted.header(file, MERGED)
    state = safetensors(file, f"{what}: {file.name}", MERGED)
    lora = _lora(vetted.read(folder / ADAPTER), state, what)
    absent = [name for name in lora.ranks if not _is_linear(model, name)]
    if absent:
        raise UserError(
            f"{what} changes {absent[0]}, which is no linear layer of the model that retraining starts from.\n"
            "Try: model.path=FOLDER or model.hub=NAME of the model that the adapter was trained on"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft's own call
        with_adapter: Any = get_peft_model(model, lora.configuration())
    own = {name: tensor for name, tensor in with_adapter.named_parameters() if ".lora_" in name}
    given = {re.sub(r"\.weight$", ".default.weight", name): tensor for name, tensor in state.items()}
    compare(given, own, what, "model.path=FOLDER or model.hub=NAME of the model that the adapter was trained on")
    judge(given, own, what)
    if next(model.parameters()).device.type != "meta":
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(given[name])
    found: PeftModel = with_adapter.eval()
    return found


def _is_linear(model: nn.Module, name: str) -> bool:
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        return False
    return isinstance(layer, nn.Linear) or type(layer).__name__ in ("Conv1D", "Linear4bit")


def _lora(found: Mapping[str, Any], state: Mapping[str, Tensor], what: str) -> Lora:
    """Read an adapter's configuration and tensors; raise UserError for all but plain LoRA on linear layers."""
    from peft import LoraConfig

    plain: dict[str, Any] = LoraConfig().to_dict()  # type: ignore[no-untyped-call]
    kind, alpha, alphas = found.get("peft_type"), found.get("lora_alpha"), found.get("alpha_pattern") or {}
    if kind != "LORA":
        raise UserError(f"{what} is an adapter of the kind {kind}; expected LORA.\n{MERGED}")
    other = [key for key, value in found.items() if key not in (*READ, *IGNORED) and value and value != plain.get(key)]
    if other:
        raise UserError(f"{what} says {other[0]}={found[other[0]]} in {ADAPTER}, more than plain LoRA.\n{MERGED}")
    if not _is_size(alpha) or not isinstance(alphas, dict):
        raise UserError(f"{what} says lora_alpha={alpha} in {ADAPTER}; expected a number.\n{MERGED}")
    wrong = [key for key, value in alphas.items() if not re.fullmatch(r"[\w.]{1,500}", key) or not _is_size(value)]
    if wrong:
        raise UserError(f"{what} has a pattern in {ADAPTER}: alpha_pattern {wrong[0]!a}; expected names.\n{MERGED}")
    return Lora(
        float(cast(float, alpha)),
        alphas,
        bool(found.get("use_rslora")),
        bool(found.get("fan_in_fan_out")),
        _ranks(state, what),
    )


def _is_size(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 2**16  # type: ignore[operator]


def _ranks(state: Mapping[str, Tensor], what: str) -> dict[str, int]:
    """Return the rank of each layer that has a pair of matrices (r, in) and (out, r)."""
    named = {name: NAME.fullmatch(name) for name in state}
    odd = [name for name, match in named.items() if match is None or state[name].ndim != 2]
    if odd or not state:
        raise UserError(f"{what} holds {odd[0] if odd else 'no tensor'}, which is not plain LoRA.\n{MERGED}")
    downs = {match[1]: name for name, match in named.items() if match and match[2] == "A"}
    return {layer: len(state[name]) for layer, name in downs.items()}
