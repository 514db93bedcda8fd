"""MUSE: does the model still repeat what it should forget, still know it, and does membership show?

Shi et al.: MUSE: Machine Unlearning Six-Way Evaluation for Language Models, ICLR 2025, arXiv:2407.06460. Four of its
six questions, on splits of their own:

    forget_verbmem    muse_rouge_l    ROUGE-L F1 of the continuation of a forget text, 128 tokens
    forget_knowmem    muse_rouge_l    the same of answers about forget texts, 32 tokens behind ten examples
    retain_knowmem    muse_rouge_l    the same about retain texts: utility
    forget_privleak   muse_privleak   (AUC - AUC of retrained) / AUC of retrained * 100, by Min-40% against holdout

The other two are a matter of the forget set: how it scales, and how it holds in a stream.

Differences from the authors' code (github.com/swj0419/muse_bench): the retrained AUC is measured in the run, where
theirs are constants of two LLaMA 2 models (their eval.py looks them up without the corpus's name, and ends in a
KeyError). Prompts that are too long for the model lose their beginning. Rates are in [0, 1], not percent.
open-unlearning's table has ROUGE with the stemmer on.

Null: the retrained models' own values; muse_privleak's is 0, and its floor is that of one reference against another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.contracts import Kind
from unlearnbench.data.probes import Probe, ProbedData
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row
from unlearnbench.evidence import Scores
from unlearnbench.graph.stage import Model, Stage
from unlearnbench.metrics import declared
from unlearnbench.metrics import muse as numbers
from unlearnbench.metrics.measure import measure
from unlearnbench.ranges import Count, Limit
from unlearnbench.stages.continuing import Continue
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World

STOPS = ("\n\n", "\nQuestion", "Question:")
METRICS = tuple(
    one
    for function in (numbers.muse_rouge_l, numbers.muse_auc, numbers.muse_privleak)
    for one in declared(function)
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Muse:
    """Ask MUSE's questions: verbmem, knowmem and privleak (dataset=muse_news or muse_books).

    `limit` is how many rows of each file are asked, from its beginning (null: all).
    """

    verbmem_tokens: Count
    knowmem_tokens: Count
    limit: Limit | None
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = (
        Column("muse_rouge_l", "forget_verbmem"), Column("muse_rouge_l", "forget_knowmem"),
        Column("muse_rouge_l", "retain_knowmem"), Column("muse_privleak", "forget_privleak"),
    )  # fmt: skip
    headline_unreferenced: ClassVar[tuple[Column, ...]] = (
        *headline[:3], Column("muse_auc", "forget_privleak"),
    )  # fmt: skip

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return each role's answers to the probes, and its scores of the texts of privleak.

        Raises UserError where the data set does not come with MUSE's questions.
        """
        data = world.bench.data
        if not isinstance(data, ProbedData) or not {*numbers.WRITTEN} <= data.probes.keys():
            raise UserError(
                "eval=muse asks questions that come with MUSE's texts, and this data set has none.\n"
                "Try: dataset=muse_news dataset.root=FOLDER (or muse_books), or eval=[standard]"
            )
        texts = world.bench.on(data.texts).extra
        found: dict[str, Stage] = {}
        for role, model in models.roles():
            for name, probe in data.probes.items():
                found[f"{role}_{name}"] = self._asked(world, model, name, probe)
            for name, bench in texts.items():
                index = bench.data.test[: self.limit]
                found[f"{role}_{name}_privleak"] = Score(bench, model, f"{name}_privleak", index)
        return found

    def measure(self, found: Found) -> Iterable[Row]:
        """Return MUSE's numbers of every role on its own splits, with gaps and floors."""
        splits = (*numbers.WRITTEN, numbers.FORGET, numbers.HELD_OUT)
        scores = {
            role: {split: _read(found, f"{role}_{split}") for split in splits} for role, _ in found.models.roles()
        }
        retrained = tuple(one for role, one in scores.items() if role.startswith("retrained"))
        seed = found.world.eval_seed
        return measure(scores["original"], retrained, scores["unlearned"], (), False, seed, METRICS, needed=splits)

    def _asked(self, world: World, model: Model, name: str, probe: Probe) -> Continue:
        few = probe.first(self.limit)
        if name == "forget_verbmem":
            return Continue(world.bench, model, name, few, self.verbmem_tokens, shorten=True)
        return Continue(world.bench, model, name, few, self.knowmem_tokens, STOPS)


def _read(found: Found, name: str) -> Scores:
    return Scores.from_tensors(found.artefact(name).tensors)
