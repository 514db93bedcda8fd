"""Prune, reinitialise, match, quantise: draw the smallest weights afresh, relearn retain and the original's certainty.

The method of team Sebastian, fourth in the NeurIPS 2023 unlearning challenge; Triantafillou et al., Are We Making
Progress in Unlearning?, 2024, arXiv:2406.09073; named PRMQ by Cadet et al., Deep Unlearn, EuroS&P 2025,
arXiv:2410.01276. We read their code in the latter's port, kgltop4.py of https://github.com/xcadet/deepunlearn.

Prune: of all weights and biases of convolutions and linear layers together, the `share` smallest in size become 0.
Reinitialise: of these, weights are drawn from U(-1/sqrt(fan in), 1/sqrt(fan in)); biases stay 0.
Match: minimise w_y * CE + entropy_weight * (H(model) - H(original))^2 on retain, H the entropy of the softmax and
w_y = count_y^-balance scaled to a mean of 1. Quantise: round the trained weights to 16 bits, and compute on in 32.

They train for 3.2 epochs; our epochs are whole. Their class weights have no scale, and their rounding reaches batch
norm's statistics. A text row is an answer token. A weight that layers share, such as a language model's embeddings and
its head, counts once.

Batch norm: `train`, as their student. Their teacher uses running statistics; ours is in the student's mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from unlearnbench.contracts import Batch, Predictions
from unlearnbench.models.modes import BatchNorm
from unlearnbench.models.start import adapter_of
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Several, Share, Weight
from unlearnbench.techniques.balance import label_weights, weighted_cross_entropy
from unlearnbench.techniques.layers import weighted
from unlearnbench.techniques.remembered import remembered
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class Prmq:
    """Draw the `share` of the smallest weights afresh, and train on retain towards the original's entropy."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2023
    share: Share
    entropy_weight: Weight
    balance: Annotated[float, Field(ge=0, le=1)]
    quantise: bool
    epochs: Count
    batch_size: Several
    batch_norm: BatchNorm
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where an adapter is trained: the weights to prune are frozen beneath it."""
        if adapter_of(problem.spec) is None:
            return None
        return "prmq needs all weights; try method=finetune, or model.adapter.r=0"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with new weights, after its epochs on the retain set, rounded."""
        weights = label_weights(problem.plain(problem.retain, self.batch_size), self.balance)
        wanted = remembered(problem, self.epochs, lambda retain: entropy(problem.predict(problem.reference, retain)))

        def loss(retain: Batch) -> Tensor:
            student = problem.predict(model, retain)
            unlike = student.averaged((entropy(student) - wanted(retain)) ** 2)
            return weighted_cross_entropy(student, weights) + self.entropy_weight * unlike

        with seeded(problem.seed, "redraw"):
            redraw(model, self.share)
        batches = problem.batches(problem.retain, size=self.batch_size, epochs=self.epochs)
        problem.optimize(model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference)
        if self.quantise:
            round_to_half(model)
        return model


def entropy(predictions: Predictions) -> Tensor:
    """Return the entropy of each row's softmax, nats, (m,) float32."""
    logs = functional.log_softmax(predictions.logits, dim=1)
    return -(logs.exp() * logs).sum(dim=1)


def redraw(model: nn.Module, share: float) -> None:
    """Prune the `share` of the smallest weights and biases in all layers together, and draw pruned weights afresh."""
    layers = weighted(model)
    parameters = [one for layer in layers for one in layer.parameters(recurse=False) if one.requires_grad]
    masks = smallest(parameters, share)
    drawn = {id(layer.weight) for layer in layers}
    with torch.no_grad():
        for parameter, mask in zip(parameters, masks, strict=True):
            fresh = torch.zeros_like(parameter)
            if id(parameter) in drawn:
                bound = parameter[0].numel() ** -0.5
                fresh.uniform_(-bound, bound)
            parameter.copy_(torch.where(mask, fresh, parameter))


def smallest(parameters: Sequence[Tensor], share: float) -> list[Tensor]:
    """Return masks that are true for the `share` of all these parameters' entries that are smallest in size."""
    sizes = torch.cat([parameter.detach().abs().flatten() for parameter in parameters])
    mask = torch.zeros_like(sizes, dtype=torch.bool)
    mask[sizes.topk(round(share * len(sizes)), largest=False).indices] = True
    pieces = torch.split(mask, [parameter.numel() for parameter in parameters])
    return [piece.view(parameter.shape) for piece, parameter in zip(pieces, parameters, strict=True)]


def round_to_half(model: nn.Module) -> None:
    """Round the parameters that can learn to the nearest 16-bit floats, in place; their type stays."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.half())
