"""BiasUnlearn: forget biased answers and learn the corrected ones until neither is preferred, and not further.

Liu, Liu, Jin, Mao: Mitigating Biases in Language Models via Bias Unlearning, EMNLP 2025, arXiv:2509.25673:

    forget_weight * NPO(biased) + correct_weight * CE(corrected) + retain_weight * KL(original || model) on retain

NPO is that of npo, on an answer's summed loss; the authors' code takes a batch's mean one. Their third term is the
cross-entropy to the original's softmax over all tokens of unrelated sentences, whose gradient is KL's; ours is over the
answers of retain rows. Against a bias the other way round, a share `adversarial` of the questions has its corrected
answer in NPO instead; their code adds a quarter as many to the biased ones, which is a fifth of both. Every
`check_every` steps the bias score is measured on validation rows whose corrected answer differs: the share that find
the biased answer likelier, by the mean loss of its tokens. Within `tolerance` of `target` training ends (theirs within
2 points of 49 %, and of 48 % for religion); below it, biased and corrected answers swap places until it is above again,
and NPO has corrected answers alone. The authors also choose which kind of bias to go on with, while our forget sets
have one kind, and start a new optimiser after each check, while ours goes on. Without such validation rows it trains
for all its epochs.

Batch norm: language models have none; the field changes nothing. The original is in the model's mode, without dropout.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.contracts import Batch, Index
from unlearnbench.models.modes import BatchNorm, evaluating
from unlearnbench.problem import Family, Problem
from unlearnbench.ranges import Count, Positive, Share, Weight
from unlearnbench.techniques.preferences import npo, row_counts, summed_loss
from unlearnbench.techniques.remembered import reference_losses, reference_softmax
from unlearnbench.training.losses import Losses, cross_entropy, kl_to_teacher
from unlearnbench.training.optimizer import Optimizer


@dataclass(frozen=True, kw_only=True)
class BiasUnlearn:
    """Minimise NPO on biased answers, CE on corrected ones and KL on retain until the bias score is balanced.

    The run's table `bias` has the scores.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "relabelling"
    year: ClassVar[int] = 2025
    epochs: Count
    batch_size: Count
    batch_norm: BatchNorm
    beta: Positive
    forget_weight: Weight
    correct_weight: Weight
    retain_weight: Weight
    adversarial: Share
    target: Annotated[float, Field(ge=0, le=1)]
    tolerance: Annotated[float, Field(ge=0, le=1)]
    check_every: Count
    optimizer: Optimizer

    def check(self, problem: Problem) -> str | None:
        """Return a reason where the data set knows no corrected answers."""
        return None if problem.twins is not None else "bias_unlearn needs corrected answers, and this data set has none"

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model once it is balanced, or after all epochs."""
        chosen = problem.sample(problem.forget, self.adversarial) if self.adversarial > 0 else problem.forget[:0]
        turned = marked(problem.forget, chosen).to(next(model.parameters()).device)
        disputed = differing(problem)
        swapped = False

        def corrected(index: Index, _generator: torch.Generator) -> Batch:
            return problem.task.batch(problem.corrected(index), None)

        reference = reference_losses(problem, self.epochs)
        teacher = reference_softmax(problem, self.epochs)

        def loss(biased: Batch, unbiased: Batch, retain: Batch) -> Losses:
            pair = (unbiased, biased) if swapped else (biased, unbiased)
            before = [reference(batch) for batch in pair]
            worse, better = (problem.predict(model, batch) for batch in pair)
            against = turned[biased.index] & (not swapped)
            after = torch.where(against, summed_loss(better), summed_loss(worse))
            lost = npo(after, torch.where(against, before[1], before[0]), self.beta)
            kept = kl_to_teacher(problem.predict(model, retain), teacher(retain))
            return self.forget_weight * lost, self.correct_weight * cross_entropy(better), self.retain_weight * kept

        batches = problem.batches(
            problem.forget, problem.retain, size=self.batch_size, epochs=self.epochs, beside=corrected
        )
        stepper = problem.stepper(
            model, self.optimizer, batches.steps, batch_norm=self.batch_norm, against=problem.reference
        )
        for _ in range(self.epochs):
            with closing(stepper.epoch(batches)) as steps:
                for some in steps:
                    stepper.step(loss, *some)
                    if stepper.steps % self.check_every or not len(disputed):
                        continue
                    score = self.score(problem, model, disputed)
                    swapped = score < self.target
                    row = {"step": float(stepper.steps), "score": score, "swapped": float(swapped)}
                    problem.record.tables.setdefault("bias", []).append(row)
                    if abs(score - self.target) <= self.tolerance:
                        stepper.end_epoch()
                        return model
        return model

    def score(self, problem: Problem, model: nn.Module, index: Index) -> float:
        """Return the share of these examples whose own answer is likelier, per token, than the corrected one."""
        found = []
        with evaluating(model), torch.no_grad():
            for positions in (index, problem.corrected(index)):
                batches = problem.plain(positions, self.batch_size)
                outputs = (problem.predict(model, batch) for batch in batches)
                found.append(torch.cat([summed_loss(one) / row_counts(one) for one in outputs]))
        problem.record.examples += 2 * len(index)
        return float((found[0] < found[1]).double().mean())


def marked(index: Index, chosen: Index) -> Tensor:
    """Return which positions, up to the highest of `index`, are among the chosen ones, bool."""
    marks = torch.zeros(int(index.max()) + 1, dtype=torch.bool)
    marks[torch.from_numpy(chosen)] = True
    return marks


def differing(problem: Problem) -> Index:
    """Return the validation examples whose corrected answer is another than their own."""
    index = problem.validation
    pairs = zip(problem.plain(index, 1), problem.plain(problem.corrected(index), 1), strict=True)
    return index[[not torch.equal(own.inputs, corrected.inputs) for own, corrected in pairs]]
