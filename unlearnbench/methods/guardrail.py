"""A guardrail: an input filter that answers prompts to forget with a refusal; no weight changes.

Thaker, Maurya, Hu, Wu, Smith: Guardrail Baselines for Unlearning in LLMs, 2024, arXiv:2403.03329: a prompt before the
question (`method=prompt`), or a filter beside the model; one of theirs is a linear classifier on a model's own states.
With h(x) the original's states at a prompt x:

    answer(x) = refusal  where w . h(x) + b > 0,  else the original's answer

The filter is the classifier of `eco` (techniques/detector.py): trained on forget against retain prompts, its threshold
calibrated on validation rows. Where it fires, `refusal` is what the model writes. Answers that are scored, not written,
need a convention: a refusal says nothing about them, so all tokens are equally likely. Answer options differ in length,
so each gets the same score, apart from differences of at most .001 nats in an order drawn for the row. So a refused
question is answered at chance, and it does not matter which option comes first in the data.

There is no output filter: it would judge each answer option by itself, and where a row has one fixed answer (TOFU,
chats) only the written one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from unlearnbench.models.screened import Withheld
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Share
from unlearnbench.tasks.kinds import text_task
from unlearnbench.techniques import detector


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """Answer with `refusal` where a classifier takes the prompt for one to forget.

    About the share `false_alarms` of other prompts is refused too.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "prompt"
    year: ClassVar[int] = 2024
    wraps: ClassVar[bool] = True
    refusal: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S")]
    false_alarms: Share

    def check(self, problem: Problem) -> str | None:
        """Return a reason where there are no prompts to tell apart."""
        reason = detector.why_none(text_task(problem.task), problem.forget, problem.retain)
        return f"guardrail {reason}" if reason else None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model behind its filter."""
        task = text_task(problem.task)
        prompts = task.prompts(problem.forget, problem.retain, problem.validation)
        found, facts = detector.learned(model, prompts, self.false_alarms, task.autocast())
        problem.record.tables["detector"] = [facts]
        problem.record.examples += sum(map(len, prompts.values()))
        refusal = torch.tensor(task.encoder.tokens(self.refusal), device=found.weight.device)
        return Withheld(model, found, refusal)
