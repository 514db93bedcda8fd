"""A classifier that tells prompts to forget from others, from a language model's own hidden states.

A logistic regression with L2 penalty on standardised features, both classes weighted alike. Its threshold is calibrated
on validation prompts, which nobody asked to forget: split conformal prediction (Vovk et al. 2005) keeps the share of
other such prompts that fire below `false_alarms` on average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from unlearnbench.models.modes import evaluating
from unlearnbench.models.screened import Detector, padded, prompt_features

if TYPE_CHECKING:
    from unlearnbench.contracts import Index
    from unlearnbench.models.wrapper import Tokens
    from unlearnbench.tasks.text import TextTask

Features = NDArray[np.float64]
PENALTY = 1.0
"""The inverse strength of the L2 penalty, scikit-learn's C and its default."""
BATCH = 32
"""Prompts per forward pass."""


def features_of(model: nn.Module, prompts: Sequence[Tokens], autocast: torch.autocast) -> Features:
    """Return the features of prompts in order, (n, 2d) float64; prompts of similar lengths share a pass."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    found: list[torch.Tensor] = []
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), autocast:
        for start in range(0, len(order), BATCH):
            tokens, lengths = padded([prompts[place] for place in order[start : start + BATCH]])
            found.append(prompt_features(model, tokens.to(device), lengths.to(device)))
    sorted_: Features = torch.cat(found).cpu().double().numpy()
    return sorted_[np.argsort(order)]


def fitted(forget: Features, retain: Features, validation: Features, false_alarms: float) -> Detector:
    """Return a classifier that fires on prompts like those to forget, with features (n, k), on the CPU.

    It fires where a prompt is more likely than not one to forget, and scores above the threshold that at most the share
    `false_alarms` of validation prompts exceed.
    """
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([forget, retain])
    mean, deviation = both.mean(axis=0), both.std(axis=0) + 1e-6
    is_forget = np.arange(len(both)) < len(forget)
    line = LogisticRegression(C=PENALTY, class_weight="balanced", max_iter=1000)
    line.fit((both - mean) / deviation, is_forget)
    weight = line.coef_[0] / deviation
    bias = float(line.intercept_[0] - mean @ weight)
    bias -= max(0.0, threshold(validation @ weight + bias, false_alarms))
    return Detector(torch.from_numpy(weight).float(), torch.tensor(bias, dtype=torch.float32))


def threshold(scores: NDArray[np.float64], false_alarms: float) -> float:
    """Return the score that another prompt like these (n,) exceeds with probability at most `false_alarms`.

    Where there are too few for that, the highest one; 0 if there are none.
    """
    if not len(scores):
        return 0.0
    place = math.ceil((len(scores) + 1) * (1 - false_alarms)) - 1
    return float(np.sort(scores)[min(place, len(scores) - 1)])


def learned(
    model: nn.Module, prompts: Mapping[str, Sequence[Tokens]], false_alarms: float, autocast: torch.autocast
) -> tuple[Detector, dict[str, float]]:
    """Return a classifier of the prompts in `forget` and `retain`, calibrated on those in `validation`, and its facts.

    The facts are the share of the prompts of each kind that fire, and of those trained on that are told right.
    """
    device = next(model.parameters()).device
    features = {name: features_of(model, some, autocast) for name, some in prompts.items() if some}
    nothing = np.zeros((0, features["forget"].shape[1]))
    detector = fitted(features["forget"], features["retain"], features.get("validation", nothing), false_alarms)
    fires = {name: detector.scores(torch.from_numpy(some).float()) > 0 for name, some in features.items()}
    right = torch.cat([fires["forget"], ~fires["retain"]])
    facts = {f"{name}_fires": float(fired.float().mean()) for name, fired in fires.items()}
    facts["training_accuracy"] = float(right.float().mean())
    return Detector(detector.weight.to(device), detector.bias.to(device)), facts


def why_none(task: TextTask, forget: Index, retain: Index) -> str | None:
    """Return why no classifier can learn to tell the prompts of these rows apart; None if one can."""
    if not task.data.chat:
        return "needs prompts to tell apart, and the rows of this data set are plain texts"
    if not len(forget) or not len(retain):
        return "tells prompts to forget from prompts to retain, and one of the two is empty; try another forget set"
    return None
