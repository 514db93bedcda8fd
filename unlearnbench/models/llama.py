"""LLaMA-architecture language models: a tiny one with its own tokenizer, and pretrained ones.

Touvron et al.: LLaMA: Open and Efficient Foundation Language Models (2023), arXiv:2302.13971; transformers' code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from unlearnbench.contracts import DataInfo, Parts
from unlearnbench.models import four_bit
from unlearnbench.models.adapter import Adapter
from unlearnbench.models.loading import built, configuration, hush, loaded, readable, tokenizer
from unlearnbench.models.pretrained import Place, check, files, folder_of, parts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL = ("<|pad|>", "<|start|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ '<|start|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PARTS = Parts(head="lm_head", blocks=("model.embed_tokens", "model.layers"), mask_layer="model.norm")


@dataclass(frozen=True, kw_only=True)
class LlamaTiny:
    """A LLaMA with a quarter of a million random weights; its byte-level BPE is trained on the retain rows."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    hidden: Annotated[int, Field(ge=8, le=2**14)]
    layers: Annotated[int, Field(ge=1, le=256)]
    heads: Annotated[int, Field(ge=1, le=1024)]
    vocabulary: Annotated[int, Field(ge=300, le=10**6)]
    context: Annotated[int, Field(ge=16, le=2**20)]
    adapter: Adapter

    checkpoint: ClassVar[Path | None] = None

    def build(self, info: DataInfo) -> nn.Module:
        """Return the network with random weights."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=3 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.context,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        model: nn.Module = LlamaForCausalLM(config)
        return model

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """Train a byte-level BPE on the texts; the same texts give the same tokenizer."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=bpe, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[2]
        )
        tokenizer.chat_template = TEMPLATE
        return tokenizer

    def parts(self) -> Parts:
        """Name the output layer, the blocks from input to output and the last hidden state."""
        return PARTS


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A pretrained LLaMA from a local folder, the hub, or a GGUF file in a Python package; trained through an adapter.

    Looks in this order: `path`, a folder with config.json, safetensors and a tokenizer; `package`, a Python package
    with a GGUF file, if it is installed; `hub` at `revision`. `load_in_4bit` needs bitsandbytes (CUDA or a CPU) and
    an adapter.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    path: Path | None = field(metadata={"key": False})
    hub: str | None
    revision: str | None
    package: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = field(metadata={"key": False})
    adapter: Adapter
    load_in_4bit: bool
    gradient_checkpointing: bool

    checkpoint: ClassVar[Path | None] = None

    def check(self) -> None:
        """Raise UserError if the weights are not available or not a causal language model's."""
        check(self._place())
        if self.load_in_4bit:
            four_bit.check(self.adapter.r)

    def files(self) -> dict[str, Path]:
        """Return the files of weights, configuration and tokenizer.

        Their content is part of every key.
        """
        return files(self._place())

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens that the model was made for, or None if unknown."""
        config = configuration(folder_of(self._place()))
        longest: int | None = getattr(config, "max_position_embeddings", getattr(config, "max_seq_len", None))
        return longest

    def build(self, info: DataInfo) -> nn.Module:
        """Return the architecture with random weights."""
        return built(folder_of(self._place()))

    def start(self, info: DataInfo) -> nn.Module:
        """Return the model with its pretrained weights, in their stored number format."""
        hush()
        folder = folder_of(self._place())
        with readable(f"the model in {folder}"):
            model: Any = four_bit.read(folder) if self.load_in_4bit else loaded(folder, {"dtype": "auto"})
        if self.gradient_checkpointing:
            model.activation_checkpointing_enable()
        started: nn.Module = model
        return started

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """Return the model's own tokenizer."""
        return tokenizer(folder_of(self._place()))

    def parts(self) -> Parts:
        """Name the output layer, the blocks and what follows them, in any architecture."""
        return parts_of(self._place())

    def _place(self) -> Place:
        return Place(self.path, self.hub, self.revision, self.package)
