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
from unlearnbench.errors import UserError
from unlearnbench.models import finetuned, four_bit
from unlearnbench.models.adapter import Adapter
from unlearnbench.models.loading import built, configuration, hush, loaded, readable, tokenizer
from unlearnbench.models.pretrained import Place, check, files, folder_of, parts_of
from unlearnbench.models.skeleton import skeleton
from unlearnbench.models.start import Base
from unlearnbench.request.names import PACKAGES, PUBLISHED

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
    """A pretrained causal language model: a local folder, one of the hub, or a GGUF file in a Python package.

    Looks in this order: `path`, a folder with config.json, safetensors and a tokenizer; `package`, a Python package
    with a GGUF file, if it is installed; `hub` at `revision`. `checkpoint` is a folder of your fine-tuned model, whole
    or as an adapter: it is the original, and retrained models start from the model above. `base` says whether that
    one may have seen the forget rows. `load_in_4bit` needs bitsandbytes (CUDA or a CPU) and an adapter.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    path: Path | None = field(metadata={"key": False})
    hub: str | None
    revision: str | None
    package: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] | None = field(metadata={"key": False})
    checkpoint: Path | None = field(metadata={"key": False})
    base: Base | None
    adapter: Adapter
    load_in_4bit: bool
    gradient_checkpointing: bool

    def check(self) -> None:
        """Raise UserError if the weights are not available, not a causal language model's, or may have seen all."""
        if self.path is not None:
            folder_of(self._place())  # a folder that is not there is the first thing to say
        self._check_base()
        check(self._place())
        if self.load_in_4bit:
            four_bit.check(self.adapter.r)
        if self.checkpoint is not None:
            finetuned.check(self.checkpoint, skeleton(folder_of(self._place())), self._typed)

    def files(self) -> dict[str, Path]:
        """Return the files of weights, configuration and tokenizer.

        Their content is part of every key.
        """
        theirs = {f"checkpoint/{name}": file for name, file in self.checkpoint_files().items()}
        return {**files(self._place()), **theirs}

    def checkpoint_files(self) -> dict[str, Path]:
        """Return the files of your fine-tuned model, if any: the key of the original depends on their content."""
        return finetuned.files(self.checkpoint) if self.checkpoint is not None else {}

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
        return self._checkpointing(model)

    def finetuned(self, info: DataInfo) -> nn.Module:
        """Return your fine-tuned model: the original of the run."""
        assert self.checkpoint is not None
        hush()
        found = finetuned.load(self.checkpoint, lambda: self.start(info), self._typed, in_4bit=self.load_in_4bit)
        return self._checkpointing(found)

    def tokenizer(self, texts: Iterable[str]) -> PreTrainedTokenizerBase:
        """Return the tokenizer of all roles: that of your fine-tuned model, if it brings one, or the model's own."""
        return tokenizer(self._speaking())

    def note(self) -> str:
        """Return a sentence for the log where all models read with another tokenizer than the pretrained one's."""
        mine, theirs = tokenizer(folder_of(self._place())), self.tokenizer(())
        same = mine.get_vocab() == theirs.get_vocab() and mine.chat_template == theirs.chat_template
        return "" if same else f"all models use the tokenizer and chat template of {self.checkpoint}"

    def parts(self) -> Parts:
        """Name the output layer, the blocks and what follows them, in any architecture."""
        return parts_of(self._place())

    def _speaking(self) -> Path:
        own = self.checkpoint
        return own if own is not None and finetuned.has_tokenizer(own) else folder_of(self._place())

    def _checkpointing(self, model: Any) -> nn.Module:
        if self.gradient_checkpointing:
            model.activation_checkpointing_enable()
        found: nn.Module = model
        return found

    def _check_base(self) -> None:
        """Raise UserError where original and retrained would share weights, and it is not said what those know."""
        if self.base is not None or self.checkpoint is not None:
            return
        if self.path is None and self.hub in (None, *PUBLISHED) and self.package in (None, *PACKAGES):
            return
        named = {"model.path": self.path, "model.hub": self.hub, "model.package": self.package}
        key, value = next((key, value) for key, value in named.items() if value is not None)
        raise UserError(
            f"{key}={value}: the original and the retrained model would both start from these weights. If they have "
            "seen the forget rows, the retrained model knows them too, and every comparison with it is wrong.\n"
            f"Try: model.path=BASE model.checkpoint={value}, if this is your fine-tuned model and BASE is what it was "
            "trained from,\n"
            "     or model.base=clean, if these weights never saw the forget rows,\n"
            "     or model.base=unknown, if you cannot tell: every table will say so"
        )

    @property
    def _typed(self) -> str:
        return f"model.checkpoint={self.checkpoint}"

    def _place(self) -> Place:
        return Place(self.path, self.hub, self.revision, self.package)
