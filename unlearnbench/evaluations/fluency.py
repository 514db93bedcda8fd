"""Fluency: does the model still write, or does it only break off, stammer and repeat itself?

Distinct-n and repetition of what is written (metrics/fluency.py), and its perplexity under the original, which speaks
well by construction:

    perplexity = exp(- mean over all tokens of log p_original(token | question, what was written before))

as Yao, Xu, Liu: Large Language Model Unlearning, NeurIPS 2024, arXiv:2310.10683, judge fluency by a reference model.
Gibberish is improbable under the original, and endless repetition is not: it has a low perplexity and a high
repetition, so read both.

The end of the answer's turn counts as a token: an answer that is cut off in the middle is improbable there.

Null: a model from the distribution of retrained has a gap of 0 in each number, with the error of `eval.generate` texts.
The original's own perplexity is the lowest there is for greedy answers, so it is no target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch.nn import functional

from unlearnbench.contracts import Index, Kind
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, by_role
from unlearnbench.evidence import Scores
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.stage import Stage, needed_by
from unlearnbench.graph.workshop import Workshop
from unlearnbench.metrics.fluency import distinct, repetition
from unlearnbench.models.modes import evaluating
from unlearnbench.stages.of_model import OfModel
from unlearnbench.stages.score import Score

if TYPE_CHECKING:
    from unlearnbench.data.text import TextData
    from unlearnbench.stages.world import World

SPLITS = ("retain", "forget")
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Fluency:
    """Measure the answers that are written out (`eval.generate` a split): variety, repetition, perplexity."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = (Column("gap_repetition", "forget"), Column("gap_perplexity", "forget"))
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (
        Column("repetition", "forget"), Column("perplexity", "forget"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return the perplexities of each role's answers under the original, by split."""
        if not world.bench.scoring[1] or not cast("TextData", world.bench.data).chat:
            raise UserError(
                "eval=fluency reads answers that models write out, and none are (eval.generate=0, or plain texts).\n"
                "Try: eval.generate=24 with text such as dataset=clinical_notes, or eval=[standard]"
            )
        return {
            f"{role}_{split}": Perplexity(world.bench, models.original, Score(world.bench, model, split, index))
            for role, model in models.roles()
            for split, index in world.scored()
            if split in SPLITS
        }

    def measure(self, found: Found) -> Iterable[Row]:
        """Return four numbers of the written answers, by role, and the gaps to retrained.

        `distinct_1` and `distinct_2` in (0, 1], `repetition` in [0, 1), `perplexity` from 1 up. Perfect is the value of
        the retrained model, of each: a gap of 0. Lower distinct-n, and higher repetition and perplexity, say that the
        language suffered. A number is left out where nothing was written that it could be of.
        """
        for split in SPLITS:
            values = {role: self._values(found, role, split) for role, _ in found.models.roles()}
            for name in dict.fromkeys(name for of_role in values.values() for name in of_role):
                known = {role: of_role[name] for role, of_role in values.items() if name in of_role}
                yield from by_role(name, split, known)

    def _values(self, found: Found, role: str, split: str) -> dict[str, float]:
        texts = [text for _, text in written(found.scores[role][split])]
        values = {"distinct_1": distinct(texts, 1), "distinct_2": distinct(texts, 2), "repetition": repetition(texts)}
        values["perplexity"] = found.artefact(f"{role}_{split}").facts["perplexity"]
        return {name: value for name, value in values.items() if value is not None}


def written(scores: Scores) -> Iterator[tuple[int, str]]:
    """Yield the positions of the rows whose answer was written out and is not empty, with the answers."""
    for place, text in zip(scores.index.tolist(), scores.extras["generated"].tolist(), strict=True):
        if text.strip():
            yield place, text


@dataclass(frozen=True, eq=False)
class Perplexity(OfModel):
    """What the original makes of the answers that a model wrote: `model` is the original."""

    score: Score
    kind: ClassVar[str] = "perplexity"

    @property
    def label(self) -> str:
        """The scoring whose answers they are."""
        return f"perplexity of answers, {self.score.label}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """The answers, and what the original needs."""
        return (self.score, *needed_by(self.model))

    @property
    def settings(self) -> tuple[object, ...]:
        """Model and task; the answers are an input."""
        return (self.model.key, self.bench.setting)

    def compute(self, workshop: Workshop) -> Artefact:
        """Run the original on what was written."""
        task: Any = copy(self.bench.task)
        task.data = replace(task.data, every_answer=False)  # the answers before the last one were not written
        model = workshop.model(self.model)
        answers = list(written(self.score.read(workshop)))
        nats, tokens = 0.0, 0
        with evaluating(model), torch.inference_mode():
            for start in range(0, len(answers), BATCH):
                places, texts = zip(*answers[start : start + BATCH], strict=True)
                index: Index = np.array(places, dtype=np.int64)
                found = task.predict(model, task.answered(index, texts))
                nats += float(functional.cross_entropy(found.logits, found.labels, reduction="sum"))
                tokens += len(found.labels)
        return Computed({}, {"perplexity": math.exp(nats / tokens) if tokens else None, "tokens": tokens})
