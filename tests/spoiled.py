"""Model folders with one thing wrong: each function returns what spoils a folder."""

from __future__ import annotations

import json

from unlearnbench.models import vetted

AUTO_MAP = {name: f"evil.{name}" for name in ("AutoConfig", "AutoModelForCausalLM", "AutoModel")}


def change(file, **values):
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **values}))


def config(**values):
    return lambda folder: change(folder / "config.json", **values)


def tokenizer(**values):
    return lambda folder: change(folder / "tokenizer_config.json", **values)


def index(**names):
    return lambda folder: change(folder / vetted.INDEX, metadata={}, weight_map=names)


def header(size, content=b""):
    return lambda folder: (folder / "model.safetensors").write_bytes(size.to_bytes(8, "little") + content)


def tensors(**entries):
    content = json.dumps(entries).encode()
    return header(len(content), content + bytes(64))
