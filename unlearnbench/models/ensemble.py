"""Several models of one kind that answer as one: their mean, or what most of them say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.models.four_bit import copied

Aggregate = Literal["mean", "vote"]
"""How members are joined: the mean of their probabilities, or the number of their votes."""
NAME = "ensemble_votes"
MEMBERS = "ensemble_members"


class Ensemble(nn.Module):
    """Answers with the log of its members' mean probability, (n, c), as logits.

    With `vote` the probability of a class is its share of the members' votes; their mean counts as one vote more, so
    that it decides between equal numbers and nothing is infinite. Language models answer token by token.
    """

    def __init__(self, members: Iterable[nn.Module], aggregate: Aggregate) -> None:
        super().__init__()
        self.ensemble_members = nn.ModuleList(members)
        self.aggregate: Aggregate = aggregate
        self.register_buffer(NAME, torch.tensor(aggregate == "vote"))

    @property
    def config(self) -> Any:
        """The configuration of the language models."""
        first: Any = self.ensemble_members[0]
        return first.config

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run every member; return logits as they do: alone, or as the attribute `logits`."""
        answers = [member(*inputs, **named) for member in self.ensemble_members]
        if isinstance(answers[0], Tensor):
            return joined(answers, self.aggregate)
        return SimpleNamespace(logits=joined([answer.logits for answer in answers], self.aggregate))

    @torch.no_grad()
    def generate(
        self, inputs: Tensor, attention_mask: Tensor, max_new_tokens: int, pad_token_id: int, do_sample: bool = False
    ) -> Tensor:
        """Continue prompts (n, t), padded on the left, with the likeliest tokens, as a language model's `generate`."""
        ends = _ends(self.ensemble_members[0])
        done = torch.zeros(len(inputs), dtype=torch.bool, device=inputs.device)
        for _ in range(max_new_tokens):
            positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
            said = self(input_ids=inputs, attention_mask=attention_mask, position_ids=positions, use_cache=False)
            chosen = torch.where(done, pad_token_id, said.logits[:, -1].argmax(dim=1))
            inputs = torch.cat([inputs, chosen[:, None]], dim=1)
            attention_mask = torch.cat([attention_mask, torch.ones_like(chosen[:, None])], dim=1)
            done |= torch.isin(chosen, ends.to(chosen.device))
            if bool(done.all()):
                break
        return inputs


def joined(logits: list[Tensor], aggregate: Aggregate) -> Tensor:
    """Return log-probabilities (..., c) float32 from each member's logits (..., c)."""
    each = torch.stack([functional.log_softmax(one.float(), dim=-1) for one in logits])
    mean = each.logsumexp(dim=0) - math.log(len(logits))
    if aggregate == "mean":
        return mean
    votes = functional.one_hot(each.argmax(dim=-1), each.shape[-1]).sum(dim=0)
    return (votes + mean.exp()).clamp(min=torch.finfo(mean.dtype).tiny).log() - math.log(len(logits) + 1)


def members(model: nn.Module) -> list[nn.Module]:
    """Return the members of an ensemble; of another model, itself."""
    return list(model.ensemble_members) if isinstance(model, Ensemble) else [model]


def everywhere(model: nn.Module, name: str) -> list[nn.Module]:
    """Return the submodule of this name: one, or that of each member of an ensemble."""
    return [member.get_submodule(name) for member in members(model)]


def like(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return the model, or an ensemble of copies of it where a state dict is an ensemble's."""
    if NAME not in state:
        return model
    numbers = {name.split(".")[1] for name in state if name.startswith(f"{MEMBERS}.")}
    if numbers != set(map(str, range(len(numbers)))):
        raise KeyError(f"weights do not fit: an ensemble's members are numbered from 0, not {sorted(numbers)[:5]}")
    return Ensemble([copied(model) for _ in numbers], "vote" if bool(state[NAME]) else "mean")


def _ends(model: nn.Module) -> Tensor:
    """Return the tokens that end a language model's answer, (k,) int64."""
    made: Any = model
    found = made.generation_config.eos_token_id
    return torch.tensor(found if isinstance(found, list) else [found] if found is not None else []).long()
