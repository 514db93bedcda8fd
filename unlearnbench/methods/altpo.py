"""AltPO: prefer other plausible answers, which the original wrote itself, to the one that must go.

Mekala, Dorna, Dubey, Lalwani, Koleczek, Rungta, Hasan, Lobo: Alternate Preference Optimization for Unlearning Factual
Knowledge in Large Language Models, COLING 2025, arXiv:2409.13474:

    forget_weight * -(2 / beta) log sigmoid(beta [(l_original - l)_alternate - (l_original - l)_own])
    + retain_weight * CE on retain

l is an answer's cross-entropy summed over its tokens. The original is shown the question and its answer and asked, by
`instruction`, for another answer with other facts: `alternates` times, at `temperature`. In each epoch one of a
question's alternates is drawn, where the authors' data hold each as a row. An alternate that is empty or equals the old
answer teaches nothing and is left out. If a small model writes nothing else, an alternate of another question is used
instead. The instruction says what the authors' does in our own words.

Batch norm: language models have none; the field changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.errors import UserError
from unlearnbench.models.modes import BatchNorm
from unlearnbench.problem import Family, Problem
from unlearnbench.randomness import seeded
from unlearnbench.ranges import Count, Positive, Weight
from unlearnbench.tasks.encoding import Asked
from unlearnbench.tasks.kinds import text_task
from unlearnbench.techniques.preferences import dpo, summed_loss
from unlearnbench.techniques.remembered import Teacher, reference_losses
from unlearnbench.techniques.room import check_asked, check_room
from unlearnbench.training.losses import Losses, cross_entropy
from unlearnbench.training.optimizer import Optimizer

if TYPE_CHECKING:
    from unlearnbench.tasks.text import TextTask

WRITTEN_AT_ONCE = 64
"""Answers that are sampled in one batch."""


@dataclass(frozen=True, kw_only=True)
class Altpo:
    """Minimise forget_weight * DPO of alternate over own answers on forget + retain_weight * CE on retain.

    `instruction` holds {question} and {answer}. The run's table `alternates` counts the questions with alternates of
    their own.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2025
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    instruction: Annotated[str, Field(min_length=1, max_length=10_000)]
    alternates: Annotated[int, Field(ge=1, le=100)]
    temperature: Positive
    beta: Positive
    forget_weight: Weight
    retain_weight: Weight
    optimizer: Optimizer

    def check(self, problem: Problem) -> None:
        """Raise UserError where a forget question leaves no room for the instruction, or for an alternate.

        An alternate has at most as many tokens as the longest answer of the data set.
        """
        task = text_task(problem.task)
        instructed = (self._instructed(task, place) for place in problem.forget.tolist())
        check_asked(task, instructed, "with method.instruction around question and answer")
        longest = task.data.answer(max(range(2 * len(task.rows)), key=lambda place: len(task.answer(place))))
        check_room(task, problem.forget, longest, "with the data set's longest answer as an alternate")

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model after its epochs over the forget set's two answers, retain batches beside them."""
        written = self.written(problem)

        def alternate(index: Index, generator: torch.Generator) -> Batch:
            drawn = torch.rand(len(index), generator=generator).tolist()
            choices = [written[place] for place in index.tolist()]
            return problem.answered(index, [own[int(at * len(own))] for own, at in zip(choices, drawn, strict=True)])

        reference = reference_losses(problem, self.epochs)

        def anew(batch: Batch) -> Tensor:
            with torch.no_grad():
                return summed_loss(problem.predict(problem.reference, batch))

        def by_both(batch: Batch, before: Teacher) -> tuple[Tensor, Tensor]:
            return summed_loss(problem.predict(model, batch)), before(batch)

        def loss(forget: Batch, winning: Batch, retain: Batch) -> Losses:
            gained = self.forget_weight * dpo(by_both(winning, anew), by_both(forget, reference), self.beta)
            kept = self.retain_weight * cross_entropy(problem.predict(model, retain))
            return gained, torch.zeros_like(gained), kept

        batches = problem.batches(
            problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs, beside=alternate
        )
        return problem.optimize(
            model, loss, batches, self.optimizer, batch_norm=self.batch_norm, against=problem.reference
        )

    def written(self, problem: Problem) -> dict[int, list[str]]:
        """Let the original write alternates to every forget question; return them by position, at least one each."""
        found: dict[int, list[str]] = {place: [] for place in problem.forget.tolist()}
        with seeded(problem.seed, "alternates"):
            for start in range(0, len(problem.forget), WRITTEN_AT_ONCE):
                index = problem.forget[start : start + WRITTEN_AT_ONCE]
                for _ in range(self.alternates):
                    answers = problem.rewritten(problem.reference, index, self.instruction, self.temperature)
                    for place, answer in zip(index.tolist(), answers, strict=True):
                        found[place] += [answer] if answer else []
        own = sum(bool(answers) for answers in found.values())
        problem.record.tables["alternates"] = [{"questions": float(len(found)), "with_alternates": float(own)}]
        return filled(found)

    def _instructed(self, task: TextTask, place: int) -> Asked:
        """Return what the original is asked for a question's alternate, as `problem.rewritten` asks it."""
        row, answer = task.data.rows[place % len(task.data.rows)], task.data.answer(place)
        said = self.instruction.replace("{question}", row.prompt).replace("{answer}", answer)
        return Asked(said, (answer,), row.history)


def filled(found: dict[int, list[str]]) -> dict[int, list[str]]:
    """Give the alternates of others to questions without; raise UserError where there are none at all."""
    others = sorted({answer for answers in found.values() for answer in answers})
    if not others:
        raise UserError(
            "the original wrote no other answer than its own to any forget question.\n"
            "Try: a higher method.temperature, more method.alternates, or method=idk, whose answers are given"
        )
    return {place: answers or others for place, answers in found.items()}
