"""Embedding-corrupted prompts (ECO): a classifier finds prompts to forget, and the model sees them through noise.

Liu, Wang, Flanigan, Liu: Large Language Model Unlearning via Embedding-Corrupted Prompts, NeurIPS 2024,
arXiv:2406.07933. With the classifier C and the embeddings e of a prompt x, the model is given

    e + strength * noise  where C(forget | x) is above a threshold, and e elsewhere

on all tokens of the prompt but the last, as the authors do on WMDP (on TOFU they corrupt names alone, and also in the
answers that they score). `strength` is in standard deviations of the embedding table. With null it is
the smallest of STRENGTHS at which the corrupted model's loss on forget rows reaches a surrogate for the retrained
model's: as in the paper, chance where there are answer options; without options, the original's loss on validation
rows, which no model saw.

The authors fine-tune a RoBERTa as the classifier, and search the strength by zeroth-order descent. Ours is a logistic
regression on the original's hidden states (techniques/detector.py), its threshold calibrated by conformal prediction as
they also propose, and a grid is enough for one number. Their noise reaches the first `dims` numbers of each embedding,
a setting of theirs, and is drawn anew in each pass; ours reaches all of them and is drawn once, so that a prompt is
always corrupted alike, and equal prompts are answered alike.

Validation rows are not forget rows, even where they are of the same kind (forget=random): a classifier that fires on
many of them has learnt the kind and not the rows, and then the threshold lets it fire on few rows of either.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from unlearnbench.models.screened import Corrupted, Detector
from unlearnbench.models.wrapper import inner
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import Share, Weight
from unlearnbench.tasks.kinds import text_task
from unlearnbench.techniques import detector

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""The strengths that are tried, in standard deviations of the embedding table."""
ROWS = 200
"""The most forget rows that a strength is tried on."""
PERIOD = 64
"""The noise repeats after this many tokens."""


@dataclass(frozen=True, kw_only=True)
class Eco:
    """Add noise of `strength` to the embeddings of prompts that a classifier takes for ones to forget.

    About the share `false_alarms` of other prompts fire too; a `strength` of null is chosen as the module says.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "prompt"
    year: ClassVar[int] = 2024
    wraps: ClassVar[bool] = True
    strength: Weight | None
    false_alarms: Share

    def check(self, problem: Problem) -> str | None:
        """Return a reason where there are no prompts to tell apart, or nothing to choose a strength by."""
        if reason := detector.why_none(text_task(problem.task), problem.forget, problem.retain):
            return f"eco {reason}"
        if self.strength is None and not problem.info.has_options and not len(problem.validation):
            return "eco chooses its strength by validation rows, and there are none; try method.strength=4"
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model behind a classifier and its noise."""
        task = text_task(problem.task)
        prompts = task.prompts(problem.forget, problem.retain, problem.validation)
        found, facts = detector.learned(model, prompts, self.false_alarms, task.autocast())
        problem.record.tables["detector"] = [facts]
        problem.record.examples += sum(map(len, prompts.values()))
        noise = _noise(model, problem.seed)
        strength = self.strength if self.strength is not None else _chosen(model, problem, found, noise)
        return Corrupted(model, found, strength * noise)


def _noise(model: nn.Module, seed: int) -> Tensor:
    """Draw Gaussian noise with the standard deviation of the embedding table, (PERIOD, d) float32."""
    table: Tensor = inner(model).get_input_embeddings().weight  # type: ignore[operator]
    generator = torch.Generator().manual_seed(stage_seed(seed, "noise"))
    noise = torch.randn(PERIOD, table.shape[1], generator=generator).to(table.device)
    return noise * table.detach().float().std()


def _chosen(model: nn.Module, problem: Problem, found: Detector, noise: Tensor) -> float:
    """Return the smallest strength at which the loss on forget rows reaches the surrogate; keep a table of them."""
    task = copy.copy(text_task(problem.task))
    task.generate = 0  # no answers need be written out here
    rows = problem.sample(problem.forget, min(ROWS / len(problem.forget), 1.0))
    before = task.score(problem.reference, rows)
    if problem.info.has_options:
        surrogate = float(np.log(np.isfinite(before.logits).sum(axis=1)).mean())
    else:
        surrogate = float(task.score(problem.reference, problem.validation).loss.mean())
    tried: list[dict[str, float]] = []
    for strength in STRENGTHS:
        loss = float(task.score(Corrupted(model, found, strength * noise), rows).loss.mean())
        problem.record.examples += len(rows)
        tried.append({"strength": strength, "forget_loss": loss, "surrogate": surrogate, "chosen": 0.0})
        if loss >= surrogate:
            break
    tried[-1]["chosen"] = 1.0
    problem.record.tables["strength"] = tried
    return tried[-1]["strength"]
