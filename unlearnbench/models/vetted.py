"""What a stranger's model folder may ask for: its own files, and the code that is installed; refused otherwise.

Libraries follow what a folder's JSON says to code (`auto_map`, kernels of the hub, quantisers), to other files (an
index of weights, versions of a tokenizer), and into memory (counts of layers, headers). Here it is read before them.
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
INDEX, WEIGHTS, ADAPTER = "model.safetensors.index.json", "model.safetensors", "adapter_config.json"
JSON_MIB, HEADER_MIB = 64, 32
"""The longest JSON file, and header of weights, that are read: those of models with a million tokens, or tensors."""
COUNT = 10**5
"""The most layers, heads or experts: lists as long as they say are made before anything else is looked at."""
COUNTS = re.compile(r"layer|block|expert|head|group|stack|depth|labels|^(?:n|num)_(?!positions|ctx|embd)")
GROWTH = 1000
"""How many times longer a text may become by all steps of a tokenizer: real ones come to about 3."""
KERNELS = re.compile(r"attn_implementation|experts_implementation")
INSTALLED = ("eager", "sdpa", "grouped_mm", "batched_mm")
"""How transformers computes attention and experts by itself; other names fetch code from the hub."""
ELSEWHERE = re.compile(r"transformers_weights|fusion_config|distributed_config|kernel_config|use_kernels")


def check(folder: Path, adapter: bool = False) -> None:
    """Raise UserError where the files of a folder ask for more than themselves; an adapter beside them if it may be."""
    try:
        _check(folder, adapter)
    except RecursionError as error:
        raise UserError(f"{folder}: a JSON file is nested too deeply.\n{ELSE}") from error


def _check(folder: Path, adapter: bool) -> None:
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.stat().st_size > JSON_MIB * 2**20:
            raise UserError(f"{file} has {file.stat().st_size} bytes: {JSON_MIB} MiB at most are read.\n{ELSE}")
    for name in ("config.json", "generation_config.json"):
        for key, value in _entries(read(folder / name)):
            _check_entry(folder / name, key, value)
    for key, value in _entries(read(folder / "tokenizer_config.json")):
        _check_tokenizer(folder, key, value)
    _check_growth(folder / "tokenizer.json")
    if (folder / ADAPTER).exists() and not adapter:
        raise UserError(
            f"{folder} holds an adapter: transformers would read the weights of the model that its {ADAPTER} "
            "names.\nTry: model.path=FOLDER with the merged model (peft's merge_and_unload, then save_pretrained)"
        )


def weights(folder: Path) -> list[Path]:
    """Return the files of weights; raise UserError where there are none, or a header is none."""
    named = shards(folder)
    found = sorted({*(file for file in folder.glob("*.safetensors") if file.is_file()), *named})
    if not found:
        raise UserError(f"{folder} holds no *.safetensors; pickled weights are not read, they run code.\n{ELSE}")
    if not named and not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds neither {WEIGHTS} nor {INDEX}.\n{ELSE}")
    for file in found:
        if file.name.startswith("shard-"):
            raise UserError(f"{file} is a part of a distributed checkpoint, which is not read.\n{ELSE}")
        header(file)
    return found


def header(file: Path, remedy: str = ELSE) -> None:
    """Raise UserError where a file is no safetensors, by its header: lengths, formats and places of the tensors."""
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
    """Return the files that an index of weights names; raise UserError for any that is not below the folder."""
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
        raise UserError(f"{folder / INDEX} names {name}: a .safetensors file below its folder was expected.\n{ELSE}")
    if not (folder / place).is_file():
        raise UserError(f"{folder / place} cannot be read: there is no such file.\n{ELSE}")
    return folder / place


def read(file: Path) -> dict[str, Any]:
    """Return a JSON file's object, empty where there is no file; raise UserError where it holds something else."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = f"{type(error).__name__}: it is not a valid JSON file: {error}"
        raise UserError(f"{file} cannot be read ({reason}).\n{ELSE}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} cannot be read: an object was expected, not {type(found).__name__}.\n{ELSE}")
    return found


def _entries(found: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key and value of nested JSON; what a list holds has the key of the list."""
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
        raise UserError(f"{file} says {key}={value}: at most {COUNT} was expected.\n{ELSE}")
    asked = [value] if not isinstance(value, dict) else list(value.values())
    if KERNELS.search(key) and any(one is not None and one not in INSTALLED for one in asked):
        raise UserError(f"{file} says {key}={value}: code from elsewhere, which is never run.\nTry: without that line")
    if ELSEWHERE.fullmatch(key) and value:
        raise UserError(f"{file} says {key}={value}, which is not followed.\nTry: without that line")
    if key == "quantization_config" and isinstance(value, dict) and value.get("quant_method") != "bitsandbytes":
        method = value.get("quant_method")
        raise UserError(
            f"{file}: weights quantised by {method} cannot be unlearned, and need code of others.\n"
            "Try: the model in its own number format, with model.load_in_4bit=true where memory is short"
        )


def _check_tokenizer(folder: Path, key: str, value: Any) -> None:
    """Raise UserError for a file elsewhere: transformers would read it, and no key would hold its content."""
    overridden = ("tokenizer_file", "special_tokens_map_file", "added_tokens_file")
    if not isinstance(value, str) or key in overridden:
        return
    versions = key == "fast_tokenizer_files" and ("/" in value or "\\" in value)
    file = key.endswith("_file") and len(value) < 4096 and "\0" not in value and Path(value).is_file()
    if versions or file:
        raise UserError(f"{folder / 'tokenizer_config.json'} says {key}={value}: a file outside its folder.\n{ELSE}")


def _check_growth(file: Path) -> None:
    """Raise UserError for a tokenizer that makes texts many times longer: each step works on what came before."""
    found = read(file)
    steps = [*_objects(found.get("normalizer")), *_objects(found.get("pre_tokenizer")), *_objects(found.get("decoder"))]
    growth = math.prod(_times(step) for step in steps)
    growth += len(steps) + sum(len(str(step.get("prepend", ""))) for step in steps)
    ends = _objects(found.get("post_processor"))  # special tokens, and pieces that name them
    ids, pieces = (sum(map(_entries_in, ends, repeat(names))) for names in (("ids", "tokens"), ("single", "pair")))
    if growth + ids * max(pieces, 1) > GROWTH:
        raise UserError(f"{file} makes texts over {GROWTH} times longer, which no tokenizer does.\n{ELSE}")


def _objects(found: Any) -> list[dict[str, Any]]:
    """Return all objects in nested JSON, this one included."""
    inside = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
    return [*([found] if isinstance(found, dict) else []), *(one for value in inside for one in _objects(value))]


def _entries_in(step: dict[str, Any], names: tuple[str, ...]) -> int:
    return sum(len(step[name]) for name in names if isinstance(step.get(name), list))


def _times(step: dict[str, Any]) -> float:
    """Return how many times longer a step that replaces a pattern can make a text."""
    pattern, content = step.get("pattern"), step.get("content")
    if not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    text = pattern.get("String")
    return max(1.0, len(content) / max(1, len(text) if isinstance(text, str) else 1))


def check_adapter(folder: Path) -> None:
    """Raise UserError where the adapter beside 4-bit weights is another than those that a run writes.

    Other fields of peft's configuration name modules to import, and files to read.
    """
    from peft import LoraConfig

    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{folder} holds {ADAPTER} without adapter_model.safetensors.\nTry: the run again")
    found = read(folder / ADAPTER)
    plain: dict[str, Any] = LoraConfig(task_type="CAUSAL_LM").to_dict()  # type: ignore[no-untyped-call]
    free = ("r", "lora_alpha", "lora_dropout", "target_modules", "inference_mode", "peft_version")
    other = [key for key, value in found.items() if key not in free and value != _plain(plain.get(key))]
    if other:
        raise UserError(
            f"{folder / ADAPTER} says {other[0]}={found[other[0]]}, which no run wrote.\nTry: the run again"
        )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda entry: sorted(entry) if isinstance(entry, set) else str(entry)))
