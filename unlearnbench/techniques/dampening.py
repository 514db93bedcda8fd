"""Dampening: make the weights small that are more important to what goes than to everything.

Foster, Schoepf, Brintrup: Fast Machine Unlearning without Retraining through Selective Synaptic Dampening, AAAI 2024,
arXiv:2308.07707.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

log = logging.getLogger("unlearnbench")


def dampen(
    model: nn.Module, everything: Mapping[str, Tensor], forget: Mapping[str, Tensor], alpha: float, dampening: float
) -> float:
    """Multiply weights by min(dampening * I_D / I_f, 1) where I_f > alpha * I_D; return the share of such weights.

    `everything` and `forget` are I_D and I_f, in the shape of the parameter of that name.
    """
    chosen, weights = [], 0
    with torch.no_grad():
        for name, whole in everything.items():
            parameter, part = model.get_parameter(name), forget[name]
            where = part > alpha * whole
            factor = (dampening * whole / part).clamp(max=1.0)
            parameter.mul_(torch.where(where, factor, 1.0))
            chosen.append(where.sum())
            weights += where.numel()
    share = float(torch.stack(chosen).sum()) / max(weights, 1)
    if not share:
        log.warning(
            "nothing is dampened: no weight is over %g times as important to forget as to all. It can be at most all "
            "examples / forget examples times. Try: a smaller method.alpha, or method=assd, which finds one", alpha,
        )  # fmt: skip
    return share


def percentile_of_ratios(everything: Mapping[str, Tensor], forget: Mapping[str, Tensor], percentile: float) -> float:
    """Return a percentile of I_f / I_D over all weights, linear between two of them as numpy's.

    Weights that are important to nothing, 0 / 0, do not count.
    """
    ratios = torch.cat([(forget[name] / whole).flatten() for name, whole in everything.items()])
    ratios = ratios[ratios.isfinite()]
    if not len(ratios):
        return math.inf
    place = (len(ratios) - 1) * percentile / 100
    highest = ratios.topk(len(ratios) - math.floor(place)).values
    below, above = (float(highest[number]) for number in (-1, max(-2, -len(highest))))
    return below + (place - math.floor(place)) * (above - below)
