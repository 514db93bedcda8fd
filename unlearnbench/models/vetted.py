"""Check a stranger's model folder: it may use its own files and installed code, nothing else.

Libraries do what a folder's JSON says. It can lead them to code (`auto_map`, kernels on the hub, quantisers), to other
files (an index of weights, versions of a tokenizer), and to endless memory (layer counts, headers). We read it first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError

ELSE = "Try: model.path=FOLDER with config.json, safetensors and a tokenizer, or model=llama_tiny, which needs neither"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
JSON_MIB, HEADER_MIB = 64, 32
"""The largest JSON file and weights header we read: enough for a million tokens, or tensors."""
COUNT = 10**5
"""The most layers, heads or experts: libraries build lists of that length before they check anything else."""
COUNTS = re.compile(r"layer|block|expert|head|group|stack|depth|labels|^(?:n|num)_(?!positions|ctx|embd)")
GROWTH = 1000
"""How many times longer all steps of a tokenizer may make a text; real ones reach about 3."""
KERNELS = re.compile(r"attn_implementation|experts_implementation")
INSTALLED = ("eager", "sdpa", "grouped_mm", "batched_mm")
"""The implementations inside transformers; other names fetch code from the hub."""
ELSEWHERE = re.compile(r"transformers_weights|fusion_config|distributed_config|kernel_config|use_kernels")


def check(folder: Path, adapter: bool = False) -> None:
    """Raise UserError if a folder asks for anything outside it.

    `adapter` allows an adapter in it.
    """
    try:
        _check(folder, adapter)
    except RecursionError as error:
        raise UserError(f"{folder}: a JSON file is nested too deeply.\n{ELSE}") from error


def _check(folder: Path, adapter: bool) -> None:
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.stat().st_size > JSON_MIB * 2**20:
            raise UserError(f"{file} has {file.stat().st_size} bytes; at most {JSON_MIB} MiB are read.\n{ELSE}")
    for name in ("config.json", "generation_config.json"):
        for key, value in _entries(read(folder / name)):
            _check_entry(folder / name, key, value)
    for key, value in _entries(read(folder / "tokenizer_config.json")):
        _check_tokenizer(folder, key, value)
    _check_growth(folder / "tokenizer.json")
    if (folder / ADAPTER).exists() and not adapter:
        raise UserError(
            f"{folder} holds an adapter: transformers would read the weights of another model, named in {ADAPTER}.\n"
            "Try: model.checkpoint=FOLDER for the adapter, with its base model as model.path= or model.hub="
        )


def weights(folder: Path) -> list[Path]:
    """Return the weight files; raise UserError if there are none or a header is invalid."""
    named = shards(folder)
    found = sorted({*(file for file in folder.glob("*.safetensors") if file.is_file()), *named})
    if not found:
        raise UserError(f"{folder} has no *.safetensors; pickled weights can run code and are not read.\n{ELSE}")
    if not named and not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} has neither {WEIGHTS} nor {INDEX}.\n{ELSE}")
    for file in found:
        if file.name.startswith("shard-"):
            raise UserError(f"{file} is part of a distributed checkpoint, which we do not read.\n{ELSE}")
        header(file)
    return found


def header(file: Path, remedy: str = ELSE) -> None:
    """Raise UserError if a file's header is not valid safetensors."""
    from safetensors import SafetensorError, safe_open

    try:
        with file.open("rb") as opened:
            if int.from_bytes(opened.read(8), "little") > HEADER_MIB * 2**20:
                raise SafetensorError(f"a header of over {HEADER_MIB} MiB")
        with safe_open(str(file), framework="pt"):
            pass
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({type(error).__name__}: {error}).\n{remedy}") from error


def shards(folder: Path) -> list[Path]:
    """Return the files listed in an index of weights.

    Raises UserError for any outside the folder.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    names = read(index).get("weight_map")
    if not isinstance(names, dict):
        raise UserError(f"{index} cannot be read (KeyError: it has no weight_map).\n{ELSE}")
    return [_shard(folder, name) for name in sorted({str(name) for name in names.values()})]


def _shard(folder: Path, name: str) -> Path:
    place = Path(name)
    if place.is_absolute() or ".." in place.parts or place.suffix != ".safetensors":
        raise UserError(f"{folder / INDEX}: expected a .safetensors file below its folder, not {name}.\n{ELSE}")
    if not (folder / place).is_file():
        raise UserError(f"{folder / place} cannot be read: there is no such file.\n{ELSE}")
    return folder / place


def read(file: Path) -> dict[str, Any]:
    """Return a JSON file's object, or {} if there is no file.

    Raises UserError if it is not an object.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: it is not a valid JSON file: {error}"
        raise UserError(f"{file} cannot be read ({reason}).\n{ELSE}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} cannot be read: expected an object, not {type(found).__name__}.\n{ELSE}")
    return found


def _entries(found: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested JSON; elements of a list get the list's key."""
    if isinstance(found, dict):
        for name, value in found.items():
            yield name, value
            yield from _entries(value, name)
    elif isinstance(found, list):
        for value in found:
            if not isinstance(value, (dict, list)):
                yield key, value
            yield from _entries(value, key)


def _check_entry(file: Path, key: str, value: Any) -> None:
    if isinstance(value, int) and value > COUNT and (COUNTS.search(key) or key == "attention_types"):
        raise UserError(f"{file} says {key}={value}: expected at most {COUNT}.\n{ELSE}")
    asked = [value] if not isinstance(value, dict) else list(value.values())
    if KERNELS.search(key) and any(one is not None and one not in INSTALLED for one in asked):
        raise UserError(f"{file} says {key}={value}: code from elsewhere is never run.\nTry: remove that line")
    if ELSEWHERE.fullmatch(key) and value:
        raise UserError(f"{file} says {key}={value}, which is not supported.\nTry: remove that line")
    if key == "quantization_config" and isinstance(value, dict) and value.get("quant_method") != "bitsandbytes":
        method = value.get("quant_method")
        raise UserError(
            f"{file}: weights quantised by {method} cannot be unlearned and need third-party code.\n"
            "Try: the model in its own number format, with model.load_in_4bit=true if memory is short"
        )


def _check_tokenizer(folder: Path, key: str, value: Any) -> None:
    """Raise UserError for a file outside.

    transformers would read it, but its content would be in no key.
    """
    overridden = ("tokenizer_file", "special_tokens_map_file", "added_tokens_file")
    if not isinstance(value, str) or key in overridden:
        return
    versions = key == "fast_tokenizer_files" and ("/" in value or "\\" in value)
    file = key.endswith("_file") and len(value) < 4096 and "\0" not in value and Path(value).is_file()
    if versions or file:
        raise UserError(f"{folder / 'tokenizer_config.json'} says {key}={value}: a file outside its folder.\n{ELSE}")


def _check_growth(file: Path) -> None:
    """Raise UserError for a tokenizer that makes texts many times longer.

    The growth of its steps multiplies.
    """
    found = read(file)
    steps = [*_objects(found.get("normalizer")), *_objects(found.get("pre_tokenizer")), *_objects(found.get("decoder"))]
    growth = math.prod(_times(step) for step in steps)
    growth += len(steps) + sum(len(str(step.get("prepend", ""))) for step in steps)
    ends = _objects(found.get("post_processor"))  # special tokens, and the pieces that refer to them
    ids, pieces = (sum(map(_entries_in, ends, repeat(names))) for names in (("ids", "tokens"), ("single", "pair")))
    if growth + ids * max(pieces, 1) > GROWTH:
        raise UserError(f"{file} makes texts over {GROWTH} times longer, which no real tokenizer does.\n{ELSE}")


def _objects(found: Any) -> list[dict[str, Any]]:
    """Return all objects in nested JSON, the outermost included."""
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [*([found] if isinstance(found, dict) else []), *(one for value in inside for one in _objects(value))]


def _entries_in(step: dict[str, Any], names: tuple[str, ...]) -> int:
    return sum(len(step[name]) for name in names if isinstance(step.get(name), list))


def _times(step: dict[str, Any]) -> float:
    """Return how many times longer a replacement step can make a text."""
    pattern, content = step.get("pattern"), step.get("content")
    if not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    text = pattern.get("String")
    return max(1.0, len(content) / max(1, len(text) if isinstance(text, str) else 1))


def check_adapter(folder: Path) -> None:
    """Raise UserError if the adapter beside 4-bit weights is not one that a run writes.

    Other fields of peft's configuration can name modules to import and files to read.
    """
    from peft import LoraConfig

    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(f"{folder} has {ADAPTER} but no {ADAPTER_WEIGHTS}.\nTry: run it again")
    found = read(folder / ADAPTER)
    plain: dict[str, Any] = LoraConfig(task_type="CAUSAL_LM").to_dict()  # type: ignore[no-untyped-call]
    free = ("r", "lora_alpha", "lora_dropout", "target_modules", "inference_mode", "peft_version")
    other = [key for key, value in found.items() if key not in free and value != _plain(plain.get(key))]
    if other:
        raise UserError(
            f"{folder / ADAPTER} says {other[0]}={found[other[0]]}, which no run writes.\nTry: run it again"
        )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda entry: sorted(entry) if isinstance(entry, set) else str(entry)))
