"""A model behind a classifier of prompts: where it fires, the prompt is corrupted, or the answer withheld."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from unlearnbench.models.wrapper import Tokens, Wrapper, embedded, inner

WEIGHT, BIAS, NOISE, REFUSAL = "detector_weight", "detector_bias", "noise", "refusal_tokens"


@dataclass(frozen=True, eq=False)
class Detector:
    """A linear classifier: a prompt fires where its features (k,) times `weight` (k,) plus `bias` () is above 0."""

    weight: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Return how strongly prompts with these features (n, k) fire, (n,) float32: above 0 they do."""
        return features @ self.weight + self.bias


@dataclass(frozen=True, eq=False)
class Screened:
    """What a screened model puts out: `logits`, and which of the n answers are `withheld` (n,) bool."""

    logits: Tensor
    withheld: Tensor


class Screen(Wrapper):
    """A model with a detector before it, which reads the prompt in the last hidden states of the model inside."""

    asks: ClassVar[bool] = True

    def __init__(self, model: nn.Module, detector: Detector) -> None:
        super().__init__(model)
        self.register_buffer(WEIGHT, detector.weight)
        self.register_buffer(BIAS, detector.bias)

    @property
    def detector(self) -> Detector:
        """What decides whether a prompt is one to forget."""
        return Detector(self.get_buffer(WEIGHT), self.get_buffer(BIAS))

    @torch.no_grad()
    def fires(self, input_ids: Tensor, prompt_tokens: Tensor) -> Tensor:
        """Return for which of the right-padded sequences (n, t), with prompts of these lengths, it fires, (n,) bool."""
        features = prompt_features(self.model, input_ids, prompt_tokens)
        return self.detector.scores(features) > 0

    def judged(self, prompts: Sequence[Tokens]) -> Tensor:
        """Return for which of these prompts it fires, (n,) bool."""
        device = next(self.model.parameters()).device
        return self.fires(*(tensor.to(device) for tensor in padded(prompts)))


class Corrupted(Screen):
    """A model that sees prompts which fire with `noise` (p, d) added to all their embeddings but the last.

    Place t of a sequence gets row t % p of the noise, so that a prompt is always corrupted alike.
    """

    kind: ClassVar[str] = "corrupted"

    def __init__(self, model: nn.Module, detector: Detector, noise: Tensor) -> None:
        super().__init__(model, detector)
        self.register_buffer(NOISE, noise)

    @classmethod
    def of(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Self:
        """Return the model behind a stored detector and noise."""
        device = next(model.parameters()).device
        return cls(model, _detector(tensors, model), tensors[NOISE].to(device))

    def seen(self, prompts: Sequence[Tokens]) -> list[Tensor]:
        """Return the prompts' embeddings, corrupted where they fire."""
        found = zip(super().seen(prompts), self.judged(prompts), strict=True)
        return [self._noisy(one[None], _lengths(one[None], None), fire[None])[0] for one, fire in found]

    def forward(self, input_ids: Tensor, prompt_tokens: Tensor | None = None, **named: Any) -> Any:
        """Run the model inside on embeddings; `input_ids` (n, t) begin with the prompt."""
        lengths = _lengths(input_ids, prompt_tokens)
        fired = self.fires(input_ids, lengths)
        return self.model(inputs_embeds=self._noisy(input_ids, lengths, fired), **named)

    def _noisy(self, tokens: Tensor, lengths: Tensor, fired: Tensor) -> Tensor:
        words, noise = embedded(self, tokens), self.get_buffer(NOISE)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hit = fired[:, None] & (places < lengths[:, None] - 1)
        return torch.where(hit[:, :, None], words + noise[places % len(noise)].to(words.dtype), words)


class Withheld(Screen):
    """A model that answers prompts which fire with `refusal_tokens` (r,) int64.

    Of what the model inside would have said, nothing is left: its output layer sees zeros, so that without a bias all
    tokens are equally likely.
    """

    kind: ClassVar[str] = "withheld"

    def __init__(self, model: nn.Module, detector: Detector, refusal: Tensor) -> None:
        super().__init__(model, detector)
        self.register_buffer(REFUSAL, refusal)

    @classmethod
    def of(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Self:
        """Return the model behind a stored detector, with its refusal."""
        device = next(model.parameters()).device
        return cls(model, _detector(tensors, model), tensors[REFUSAL].to(device))

    def said(self, prompts: Sequence[Tokens]) -> list[Tokens | None]:
        """Return the refusal for each prompt that fires."""
        refusal: Tokens = self.get_buffer(REFUSAL).tolist()
        return [list(refusal) if fire else None for fire in self.judged(prompts).tolist()]

    def forward(self, input_ids: Tensor, prompt_tokens: Tensor | None = None, **named: Any) -> Screened:
        """Run the model inside; `input_ids` (n, t) begin with the prompt."""
        fired = self.fires(input_ids, _lengths(input_ids, prompt_tokens))

        def silenced(_head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0].masked_fill(fired[:, None, None], 0), *inputs[1:])

        head: Any = inner(self)
        handle = head.get_output_embeddings().register_forward_pre_hook(silenced)
        try:
            return Screened(self.model(input_ids=input_ids, **named).logits, fired)
        finally:
            handle.remove()


def prompt_features(model: nn.Module, input_ids: Tensor, prompt_tokens: Tensor) -> Tensor:
    """Return what a detector sees of prompts: the mean of their last hidden states, and the last token's, (n, 2d).

    `input_ids` (n, t) are right-padded; what follows after a prompt's tokens (n,) does not matter to a causal model.
    """
    longest = int(prompt_tokens.max())
    with _headless(inner(model)):
        hidden = model(input_ids=input_ids[:, :longest], use_cache=False).logits.float()
    own = (torch.arange(longest, device=hidden.device) < prompt_tokens[:, None])[:, :, None]
    mean = hidden.masked_fill(~own, 0).sum(dim=1) / prompt_tokens[:, None]
    last = hidden[torch.arange(len(hidden), device=hidden.device), prompt_tokens - 1]
    return torch.cat([mean, last], dim=1)


def padded(prompts: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Return prompts as one tensor, (n, t) int64 padded on the right with 0, and their lengths, (n,) int64."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    tokens = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.int64)
    for number, prompt in enumerate(prompts):
        tokens[number, : len(prompt)] = torch.tensor(prompt)
    return tokens, lengths


@contextmanager
def _headless(model: Any) -> Iterator[None]:
    """Make the model put out its last hidden states in place of logits inside the block."""
    head = model.get_output_embeddings()
    before = vars(head).get("forward")
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        del head.forward
        if before is not None:
            head.forward = before


def _lengths(input_ids: Tensor, prompt_tokens: Tensor | None) -> Tensor:
    if prompt_tokens is not None:
        return prompt_tokens
    return torch.full((len(input_ids),), input_ids.shape[1], device=input_ids.device)


def _detector(tensors: Mapping[str, Tensor], model: nn.Module) -> Detector:
    device = next(model.parameters()).device
    return Detector(tensors[WEIGHT].to(device), tensors[BIAS].to(device))
