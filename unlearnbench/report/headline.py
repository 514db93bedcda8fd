"""What a board shows of its models and ranks them by: right choices, or without options the tokens of answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

SPLITS = ("retain", "forget", "test")


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
    """

    ranked_by: str
    before: tuple[Column, ...]
    after: tuple[Column, ...]
    plotted: str
    words: str
    reading: str
    added: tuple[Column, ...] = ()

    def header(self) -> tuple[str, ...]:
        """Return the titles of a board's columns."""
        before, after = ([column.title for column in columns] for columns in (self.before, self.after))
        return ("method", *before, "mean gap", *after, "cost ratio", "weights changed", "seeds")

    def known(self, metrics: Collection[str]) -> Headline:
        """Return it without the columns that no run has, such as those of written answers."""
        before, after, added = (
            tuple(column for column in columns if column.metric in metrics)
            for columns in (self.before, self.after, self.added)
        )
        return Headline(self.ranked_by, before, after, self.plotted, self.words, self.reading, added)


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
        "confidence attack calls non-members."
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
        "rest follows. MIA AUC: how well the answer's loss tells forget from test; the target is retrained's."
    ),
    added=(
        *_everywhere("ROUGE-L", "rouge_l"),
        *_everywhere("exact memorisation", "exact_memorisation"),
        *_everywhere("extraction strength", "extraction_strength"),
    ),
)


def headline_of(metrics: Collection[str]) -> Headline:
    """Return the headline for runs with these metrics."""
    return CHOICES if "accuracy" in metrics or ANSWERS.ranked_by not in metrics else ANSWERS.known(metrics)
