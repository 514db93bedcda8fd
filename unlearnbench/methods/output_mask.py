"""Output mask: never predict the forgotten classes, and change nothing else. A baseline without any unlearning.

    logit_c := -10^4 for each class c that has no retain row; all other logits as they were

The classifier's row of such a class becomes 0 and its bias -10^4: plain weights, which every library reads, and losses
stay finite. What the layers beneath know of the class is all still there: an attack that looks at more than the
predicted class finds it, and that is what the baseline is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from unlearnbench.problem import Family, Problem

LOWEST = -1e4
"""A forgotten class's logit: far below any other, and within the range of 16-bit floats."""


@dataclass(frozen=True, kw_only=True)
class OutputMask:
    """Set the logits of the classes that have no retain row to a constant far below all others."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    family: ClassVar[Family] = "baseline"
    year: ClassVar[int] = 0

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the forget set is not whole classes, or the classifier has no bias to lower."""
        forget, kept = _classes(problem)
        both = sorted(problem.info.classes[label] for label in forget & kept)
        if both:
            return f"output_mask forgets whole classes, and retain has rows of {', '.join(both)}; try forget=class"
        if _last_layer(problem.reference, problem) is None:
            return "output_mask needs a linear classifier with a bias; try method=masking, or another model"
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model that cannot predict the forgotten classes."""
        layer = _last_layer(model, problem)
        assert layer is not None and layer.bias is not None
        gone = sorted(_classes(problem)[0])
        with torch.no_grad():
            layer.weight[gone] = 0.0
            layer.bias[gone] = LOWEST
        return model


def _last_layer(model: nn.Module, problem: Problem) -> nn.Linear | None:
    """Return the layer that puts out the logits: the classifier, or the last layer in it; None without a bias."""
    layers = [one for one in model.get_submodule(problem.parts.head).modules() if isinstance(one, nn.Linear)]
    fits = bool(layers) and layers[-1].bias is not None and layers[-1].out_features == len(problem.info.classes)
    return layers[-1] if fits else None


def _classes(problem: Problem) -> tuple[set[int], set[int]]:
    """Return the classes of the forget and of the retain rows."""
    gone, kept = (set(problem.task.answers(index).tolist()) for index in (problem.forget, problem.retain))
    return gone, kept
