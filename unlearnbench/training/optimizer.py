"""Optimisers: their settings, the groups of parameters they move, and the schedule of the learning rate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from unlearnbench.models.ensemble import everywhere
from unlearnbench.ranges import MOST, Count, Positive, Share, Weight


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """When the learning rate falls by `factor`: after more than `patience` epochs without a better validation loss.

    A loss is better where it is lower than the best by more than the share `threshold` of it, as in torch's
    ReduceLROnPlateau.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.3
    patience: Annotated[int, Field(ge=0, le=MOST)] = 0
    threshold: Share = 1e-4


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """An optimiser with its learning-rate schedule and gradient clipping.

    `one_cycle` warms up over the first quarter of the steps (Smith & Topin 2017); `cosine` and `linear` fall to 0,
    `linear` after rising over the share `warmup` of the steps; under `plateau` it falls as the field of that name says.
    `head_lr` is the classifier's learning rate, where it has one of its own, under the same schedule. `micro_batch`
    splits a step to save memory. `max_steps` ends a training before its epochs do.
    """

    name: Literal["sgd", "adam", "adamw"]
    lr: Positive
    head_lr: Positive | None = None
    momentum: Share = 0.0
    nesterov: bool = False
    weight_decay: Weight = 0.0
    schedule: Literal["none", "one_cycle", "cosine", "linear", "plateau"] = "none"
    warmup: Share = 0.0
    plateau: Plateau = Plateau()
    clip_norm: Positive | None = None
    clip_value: Positive | None = None
    micro_batch: Count | None = None
    max_steps: Count | None = None


def groups(model: nn.Module, settings: Optimizer, head: str) -> list[dict[str, Any]]:
    """Return the parameters to train with their learning rates: all together, or the classifier's apart."""
    heads = everywhere(model, head) if settings.head_lr is not None else []
    own = {parameter for one in heads for parameter in one.parameters()}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    backbone = [parameter for parameter in trainable if parameter not in own]
    classifier = [parameter for parameter in trainable if parameter in own]
    apart = ((backbone, settings.lr), (classifier, settings.head_lr))
    return [{"params": parameters, "lr": lr} for parameters, lr in apart if parameters]


def optimizer_over(parameters: Iterable[dict[str, Any]], settings: Optimizer) -> torch.optim.Optimizer:
    """Return torch's optimiser over groups of parameters."""
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        momentum, nesterov = settings.momentum, settings.nesterov
        return torch.optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=True)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(parameters, lr, weight_decay=decay, fused=True)


def schedule_over(
    optimizer: torch.optim.Optimizer, settings: Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler | None:
    """Return the schedule of every group's learning rate over that many steps, or None where it stays."""
    schedulers = torch.optim.lr_scheduler
    if settings.schedule == "one_cycle":
        total = max(steps, 3)
        warm_up = max(0.25, 2 / total)  # torch divides by the warm-up's steps less one
        peaks = [group["lr"] for group in optimizer.param_groups]
        return schedulers.OneCycleLR(optimizer, peaks, total_steps=total, pct_start=warm_up, cycle_momentum=False)
    if settings.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
    if settings.schedule == "linear":
        rise = round(settings.warmup * steps)
        return schedulers.LambdaLR(
            optimizer, lambda step: (step + 1) / rise if step < rise else (steps - step) / max(steps - rise, 1)
        )
    if settings.schedule == "plateau":
        falls = settings.plateau
        return schedulers.ReduceLROnPlateau(
            optimizer, factor=falls.factor, patience=falls.patience, threshold=falls.threshold
        )
    return None
