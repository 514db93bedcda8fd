"""Load a language model from a vetted folder.

Everything that transformers loads is loaded here, without its code. Whatever a library raises for a damaged file
becomes one message of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.models.vetted import ELSE

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


def hush() -> None:
    """Turn off transformers' progress bars: we show our own."""
    from transformers.utils import logging as hub_logging

    hub_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn whatever a library raises for a damaged file into a UserError.

    transformers raises a dozen kinds.
    """
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        if "trust_remote_code" in str(error):
            reason = "it needs its own code (auto_map), which we never run"
        raise UserError(f"{what} cannot be read ({reason}).\n{ELSE}") from error


def configuration(folder: Path) -> PretrainedConfig:
    """Return the model's configuration; raise UserError if transformers cannot read it."""
    from transformers import AutoConfig

    with readable(str(folder / "config.json")):
        config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config


def tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the model's own tokenizer; raise UserError if it is missing or unreadable."""
    from transformers import AutoTokenizer

    with readable(f"the tokenizer in {folder}"):
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        found.backend_tokenizer.to_str()
    return found


def built(folder: Path) -> nn.Module:
    """Return the model's architecture with random weights.

    Raises UserError if transformers cannot build it.
    """
    from transformers import AutoModelForCausalLM

    config = configuration(folder)
    with readable(f"the architecture in {folder}"):
        model: nn.Module = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, trust_remote_code=False
        )
    return model


def loaded(folder: Path, options: Mapping[str, Any]) -> Any:
    """Return the model with its weights, loaded by transformers from a vetted folder.

    `options` are passed on to `from_pretrained`, for example dtype and device_map.
    """
    from transformers import AutoModelForCausalLM

    hush()
    return AutoModelForCausalLM.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
    )
