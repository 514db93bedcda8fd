"""What a board shows of its models and ranks them by: right choices, or without options the tokens of answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

SPLITS = ("retain", "forget", "test")
COST = "cost ratio: seconds of unlearning divided by those of retraining, both without validation."


class Column(NamedTuple):
    """A column of a board: its title, and a metric on a split. With `methods`, only methods have it."""

    title: str
    metric: str
    split: str
    methods: bool = False


@dataclass(frozen=True)
class Headline:
    """The columns before and after the mean gap, which is of `ranked_by`; `plotted` is the rate that figures show.

    `words` say what the gap is of, and `reading` explains the columns. `added` is a further table of all models.
    Without a retrained model to compare with (`compared`) there is no gap and no rank.
    """

    ranked_by: str
    before: tuple[Column, ...]
    after: tuple[Column, ...]
    plotted: str
    words: str
    reading: str
    added: tuple[Column, ...] = ()
    compared: bool = True

    def header(self) -> tuple[str, ...]:
        """Return the titles of a board's columns."""
        before, after = ([column.title for column in columns] for columns in (self.before, self.after))
        gap, cost = (("mean gap",), "cost ratio") if self.compared else ((), "seconds")
        return ("method", *before, *gap, *after, cost, "weights changed", "seeds", *(("in short",) * self.compared))

    def known(self, metrics: Collection[str]) -> Headline:
        """Return it without the columns that no run has, such as those of written answers."""
        before, after, added = (
            tuple(column for column in columns if column.metric in metrics)
            for columns in (self.before, self.after, self.added)
        )
        return replace(self, before=before, after=after, added=added)


def _everywhere(title: str, metric: str) -> tuple[Column, ...]:
    return tuple(Column(f"{split} {title}", metric, split) for split in SPLITS)


CHOICES = Headline(
    ranked_by="accuracy",
    before=_everywhere("accuracy", "accuracy"),
    after=(
        Column("JS to retrained", "js_to_retrained", "forget", methods=True),
        Column("MIA gap", "gap_mia_confidence", "forget", methods=True),
    ),
    plotted="accuracy",
    words="accuracy",
    reading=(
        "mean gap: mean absolute difference to retrained in retain, forget and test accuracy. JS to retrained: "
        "divergence of the outputs on forget, in bits. MIA gap: difference to retrained in the share of forget that a "
        f"confidence attack calls non-members. {COST}"
    ),
)
ANSWERS = Headline(
    ranked_by="answer_nll",
    before=_everywhere("NLL", "answer_nll"),
    after=(
        Column("forget ROUGE-L", "rouge_l", "forget"),
        Column("forget exact memorisation", "exact_memorisation", "forget"),
        Column("forget extraction strength", "extraction_strength", "forget"),
        Column("MIA AUC", "mia_auc", "forget"),
        Column("MIA AUC gap", "gap_mia_auc", "forget", methods=True),
    ),
    plotted="exact_memorisation",
    words="answer NLL",
    reading=(
        "Rows without answer options: NLL is the negative log-likelihood of an answer per token, in nats. mean gap: "
        "mean absolute difference to retrained in retain, forget and test NLL; methods are ranked by it, and the noise "
        "floor is of it. ROUGE-L: recall of greedily written answers. exact memorisation: share of an answer's tokens "
        "that are the most likely ones. extraction strength: 1 - the share of an answer that must be given before the "
        "rest follows. MIA AUC: how well the answer's loss tells forget from test; the target is retrained's. "
        f"{COST}"
    ),
    added=(
        *_everywhere("ROUGE-L", "rouge_l"),
        *_everywhere("exact memorisation", "exact_memorisation"),
        *_everywhere("extraction strength", "extraction_strength"),
    ),
)


UNKNOWN = (
    "No model was retrained (reference.count=0). So nobody knows how a model that never saw the forget set answers it: "
    "whether a method forgets too little or too much, whether there was anything to forget, and what retraining would "
    "cost. The methods are in alphabetical order, since nothing here could rank them. To know more: reference.count=1."
)
"""What cannot be known without a retrained model."""
_ALONE = (
    "Without a retrained model. forget less held-out: the value on forget less that on held-out rows of the same kind. "
    "MIA AUC: how well the loss tells forget rows from these; .5 is chance. A model that never saw the forget rows has "
    "about 0 and .5, if held-out rows are of the same kind; but a model with 0 and .5 need not have forgotten. "
)
_SECONDS = "seconds: of the unlearning, without validation."
CHOICES_ALONE = replace(
    CHOICES,
    after=(
        Column("forget less held-out", "gap_held_out_accuracy", "forget"),
        Column("MIA AUC", "mia_auc", "forget"),
        Column("JS to original, retain", "js_to_original", "retain", methods=True),
    ),
    reading=_ALONE
    + "JS to original, retain: divergence between the outputs of the unlearned model and the original on retain, in "
    "bits; how far it moved where nothing was to be forgotten. " + _SECONDS,
    compared=False,
)
ANSWERS_ALONE = replace(
    ANSWERS,
    after=(
        Column("NLL, forget less held-out", "gap_held_out_answer_nll", "forget"),
        *(column for column in ANSWERS.after if not column.methods),
    ),
    reading=_ALONE
    + "NLL is the negative log-likelihood of an answer per token, in nats. ROUGE-L, exact memorisation and extraction "
    "strength say how much of an answer the model still writes. " + _SECONDS,
    compared=False,
)


def headline_of(metrics: Collection[str], compared: bool) -> Headline:
    """Return the headline for runs with these metrics, with retrained models or without any."""
    choices, answers = (CHOICES, ANSWERS) if compared else (CHOICES_ALONE, ANSWERS_ALONE)
    return choices if "accuracy" in metrics or ANSWERS.ranked_by not in metrics else answers.known(metrics)
