"""Prompt engineering: an instruction before every question, in the same conversation; no weight changes.

Thaker, Maurya, Hu, Wu, Smith: Guardrail Baselines for Unlearning in LLMs, 2024, arXiv:2403.03329, and Roy: Comparative
Study of Machine Unlearning Techniques for Computer Vision and NLP Models (2025). With s the instruction:

    p(answer | x) = p_original(answer | s, x)

The study gave the instruction in one call and asked in another, which did not contain it. Here both are in one
conversation. The prompts are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from unlearnbench.errors import nearest
from unlearnbench.problem import Family, Problem
from unlearnbench.tasks.chat import Message
from unlearnbench.tasks.kinds import text_task


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Put the prompt called `name` before every question as a system message; `text`, where given, is used instead."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "prompt"
    year: ClassVar[int] = 2024
    wraps: ClassVar[bool] = True
    name: str
    text: str | None
    prompts: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.text is None and self.name not in self.prompts:
            hint = nearest(self.name, self.prompts)
            raise ValueError(f"name={self.name} is none of the prompts.{hint} There are: {', '.join(self.prompts)}")

    def check(self, problem: Problem) -> str | None:
        """Return a reason where there are no questions; raise UserError where they are too long behind the prompt."""
        task = text_task(problem.task)
        if not task.data.chat:
            return "prompt needs conversations, and the rows of this data set are plain texts"
        task.opened(self._messages())
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model behind its prompt."""
        return text_task(problem.task).prefixed(model, self._messages())

    def _messages(self) -> list[Message]:
        text = self.text if self.text is not None else self.prompts[self.name]
        return [{"role": "system", "content": text}]
