"""RWKU: does the model still know the person it should forget, however it is asked, and still know the neighbours?

Jin et al.: RWKU: Benchmarking Real-World Knowledge Unlearning for Large Language Models, NeurIPS 2024 Datasets and
Benchmarks, arXiv:2406.10890. On splits of its own:

    forget_level1, neighbor_level1    rwku_rouge_l    fill in the blank
    forget_level2, neighbor_level2    rwku_rouge_l    answer a question
    forget_level3                     rwku_rouge_l    answer under nine adversarial attacks
    mia_forget, mia_retain            rwku_loss       texts about the person, and about others

Only the probes about those whose passages are in the forget set are asked.

Differences from the authors' code (github.com/jinzhuoran/RWKU, llmtuner/eval): ROUGE-L is rouge-score's, which sees
words in lower case, where theirs is `rouge`'s, which sees words with their punctuation. Answers are cut at a new line
after they are written. The blank at the end of a user's turn is as the chat template leaves it.

Null: the original's own values on neighbours and mia_retain. There is none on forget: nobody can train the model that
never heard of the person. So RWKU compares before with after, and mostly runs with reference.count=0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unlearnbench.contracts import Data, Index, Kind
from unlearnbench.data.probes import ProbedData
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import Scores
from unlearnbench.graph.stage import Stage
from unlearnbench.metrics import declared
from unlearnbench.metrics import rwku as numbers
from unlearnbench.metrics.measure import measure
from unlearnbench.ranges import Count, Limit
from unlearnbench.stages.continuing import Continue
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World

STOPS = ("\n",)
METRICS = tuple(one for function in (numbers.rwku_rouge_l, numbers.rwku_loss) for one in declared(function))


def _about(subjects: Collection[str], data: Data) -> Index:
    """Return the texts that go with these people; all of them where none is said to."""
    chosen = np.isin(data.columns["subject"][data.test], sorted(subjects))
    return data.test[chosen] if chosen.any() else data.test


@dataclass(frozen=True, kw_only=True)
class Rwku:
    """Ask RWKU's probes about the people in the forget set, and about their neighbours (dataset=rwku).

    `limit` is how many rows of each kind are asked, from the beginning (null: all).
    """

    tokens: Count
    limit: Limit | None
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = tuple(Column("rwku_rouge_l", split) for split in numbers.PROBED)

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return each role's answers to the probes, and its scores of the texts about members.

        Raises UserError where the data set has no probes, or none about anybody in the forget set.
        """
        data = world.bench.data
        if not isinstance(data, ProbedData) or not {*numbers.PROBED} <= data.probes.keys():
            raise UserError(
                "eval=rwku asks probes that come with RWKU's passages, and this data set has none.\n"
                "Try: dataset=rwku dataset.root=FOLDER, or eval=[standard]"
            )
        forgotten = {str(name) for name in data.columns["subject"][world.splits.forget]}
        probes = {name: data.probes[name].about(forgotten).first(self.limit) for name in numbers.PROBED}
        if lacking := [name for name, probe in probes.items() if not probe.prompts]:
            raise UserError(
                f"eval=rwku: {', '.join(lacking)} asks nothing about {', '.join(sorted(forgotten)[:5])}.\n"
                "Try: a forget set of people whom RWKU asks about, and RWKU's files whole"
            )
        texts = world.bench.on(data.texts).extra
        found: dict[str, Stage] = {}
        for role, model in models.roles():
            for name, probe in probes.items():
                found[f"{role}_{name}"] = Continue(world.bench, model, name, probe, self.tokens, STOPS)
            for name, bench in texts.items():
                found[f"{role}_{name}"] = Score(bench, model, name, _about(forgotten, bench.data)[: self.limit])
        return found

    def measure(self, found: Found) -> Iterable[Row]:
        """Return RWKU's numbers of every role on its own splits, with gaps and floors where there are references."""
        splits = (*numbers.PROBED, *numbers.MEMBERS)
        scores = {
            role: {split: Scores.from_tensors(found.artefact(f"{role}_{split}").tensors) for split in splits}
            for role, _ in found.models.roles()
        }
        retrained = tuple(one for role, one in scores.items() if role.startswith("retrained"))
        seed = found.world.eval_seed
        return measure(scores["original"], retrained, scores["unlearned"], (), False, seed, METRICS, needed=splits)
