"""In-context unlearning: forget examples with corrected answers and correct retain examples before every question.

Pawelczyk, Neel, Lakkaraju: In-Context Unlearning: Language Models as Few-Shot Unlearners, ICML 2024, arXiv:2310.07579.
With f_i drawn forget rows and their corrected answers, r_i drawn retain rows and their own, and n half of `contexts`:

    p(answer | x) = p_original(answer | f_1, r_1, ..., f_n, r_n, x)

They build a context for each forgotten query: that example with a flipped label, and correct ones after it. We use one
context for all queries, as a deployed prompt would be, and half of its examples are forget ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import nn

from unlearnbench.contracts import Index
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import stage_seed
from unlearnbench.tasks.chat import Message
from unlearnbench.tasks.kinds import text_task


@dataclass(frozen=True, kw_only=True)
class Icul:
    """Put `contexts` solved examples before every question: half forget ones, corrected, and half retain ones."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "prompt"
    year: ClassVar[int] = 2024
    wraps: ClassVar[bool] = True
    contexts: Literal[2, 4, 6]

    def check(self, problem: Problem) -> str | None:
        """Return a reason where examples cannot be drawn; raise UserError where questions behind them are refused."""
        if problem.twins is None:
            return "icul needs corrected answers, and this data set has none"
        for name, index in (("forget", problem.forget), ("retain", problem.retain)):
            if len(index) < self.contexts // 2:
                fewer = f"method.contexts={2 * len(index)}, or a larger {name} set" if len(index) else f"a {name} set"
                return f"icul draws {self.contexts // 2} {name} examples, and there are {len(index)}; try {fewer}"
        text_task(problem.task).opened(self._messages(problem))
        return None

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model behind its examples."""
        return text_task(problem.task).prefixed(model, self._messages(problem))

    def _messages(self, problem: Problem) -> list[Message]:
        rng = np.random.default_rng(stage_seed(problem.seed, "icul"))

        def drawn(index: Index) -> Index:
            chosen: Index = rng.choice(index, self.contexts // 2, replace=False)
            return chosen

        forgotten, kept = problem.corrected(drawn(problem.forget)), drawn(problem.retain)
        examples = [
            text_task(problem.task).turns(int(place)) for pair in zip(forgotten, kept, strict=True) for place in pair
        ]
        return [turn for example in examples for turn in example]
