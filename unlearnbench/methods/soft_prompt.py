"""Soft prompting (SPUL): learn embeddings before every question that make the model forget; no weight changes.

Bhaila, Van, Wu: Soft Prompting for Unlearning in Large Language Models, NAACL 2025, arXiv:2406.12038. With p learnt
embeddings before the input, and the model's weights fixed:

    L = CE(generic answer | forget) + retain_weight * CE(retain) + kl_weight * KL(original || model on retain)

The generic answer is the data's corrected one (a refusal, or the unbiased answer); theirs is drawn from two words.
Their code learns the embeddings through peft's small network (p-tuning) from random values; here they are parameters
themselves, and start as embeddings of words drawn from the vocabulary (Lester et al. 2021, arXiv:2104.08691), which
needs a higher learning rate. Losses are means over answer tokens; their answers have one token. Their batches mix
forget and retain rows as they come, all of either in an epoch; ours pair a batch of each, as many of retain as of
forget. Their KL compares what follows the label's token, one place later than what predicts it; ours the latter. As
theirs, the embeddings come before everything, also before the chat template's first token.

Batch norm: language models have none. Dropout is off, as the reference has none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Batch
from unlearnbench.models.prefix import SoftPrompt as Prompted
from unlearnbench.models.wrapper import embedded, inner
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import stage_seed
from unlearnbench.ranges import Count, Weight
from unlearnbench.tasks.kinds import text_task
from unlearnbench.techniques.remembered import reference_softmax
from unlearnbench.training.losses import Losses, cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class SoftPrompt:
    """Learn `length` embeddings before every question: corrected answers on forget, the original's on retain."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "prompt"
    year: ClassVar[int] = 2025
    wraps: ClassVar[bool] = True
    length: Count
    epochs: Count
    batch_size: Count
    retain_weight: Weight
    kl_weight: Weight
    optimizer: Optimizer

    def __post_init__(self) -> None:
        if self.optimizer.head_lr is not None:
            raise ValueError("optimizer.head_lr: soft_prompt trains no weights of the model, so its head has no rate")

    def check(self, problem: Problem) -> str | None:
        """Return a reason without corrected answers; raise UserError where rows are too long behind the prompt."""
        if problem.twins is None:
            return "soft_prompt needs corrected answers, and this data set has none"
        text_task(problem.task).behind(self.length)
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model behind its learnt prompt."""
        problem = replace(problem, task=text_task(problem.task).before(self.length))
        learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.requires_grad_(False)
        prompted = Prompted(model, self._words(model, problem.seed))
        original = reference_softmax(problem, self.epochs)

        def loss(forget: Batch, retain: Batch) -> Losses:
            lost = cross_entropy(problem.predict(prompted, forget))
            kept = problem.predict(prompted, retain)
            both = self.retain_weight * cross_entropy(kept) + self.kl_weight * kl_to_teacher(kept, original(retain))
            return lost, both

        twins = problem.corrected(problem.forget)
        batches = problem.batches(twins, problem.retain, size=self.batch_size, epochs=self.epochs)
        problem.optimize(prompted, loss, batches, self.optimizer, against=problem.reference)
        for parameter in learning:
            parameter.requires_grad_(True)
        return prompted

    def _words(self, model: nn.Module, seed: int) -> Tensor:
        """Draw the embeddings of `length` words of the vocabulary, (length, d) float32."""
        generator = torch.Generator().manual_seed(stage_seed(seed, "words"))
        table = inner(model).get_input_embeddings().weight  # type: ignore[operator]
        words = torch.randint(len(table), (self.length,), generator=generator)
        return embedded(model, words.to(table.device)).detach().float().clone()
