"""`unlearnbench.unlearn`: a method of the command, applied to a model and data in hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from unlearnbench.contracts import Index, Parts
from unlearnbench.errors import Diverged, UserError
from unlearnbench.machine import determinism
from unlearnbench.machine.bars import Progress, Quiet, bar
from unlearnbench.machine.precision import Choice
from unlearnbench.models import weights
from unlearnbench.models.adapter import Adapter, AdapterOff
from unlearnbench.models.start import adapter_of, trainable
from unlearnbench.problem import Method, Problem
from unlearnbench.python.binding import bind
from unlearnbench.python.bound import Bound, Examples, Fresh, Normalise, Options
from unlearnbench.python.models import meta, plain, returned, single
from unlearnbench.python.settings import check_values, method_of, python_words, recipe_of
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.stages.unlearn import applied, check_alone
from unlearnbench.training.recipe import Recipe
from unlearnbench.training.record import Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from unlearnbench.data.images import Augment


class WithoutRetain(Problem):
    """A problem that has no retain examples: a method that asks for them ends with a UserError."""

    @property
    def retain(self) -> Index:
        """Raise UserError: there are none."""
        raise UserError(
            "this method uses retain examples, and retain is None.\n"
            "Try: retain=EXAMPLES, or method='gradient_ascent' or 'task_vector', which only use what to forget"
        )

    @retain.setter
    def retain(self, value: Index) -> None:
        """Ignore what the constructor sets."""


def unlearn(
    model: nn.Module,
    retain: Examples | None,
    forget: Examples,
    method: str | Method = "npo",
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    validation: Examples | None = None,
    normalise: Normalise | None = None,
    augment: Augment | Mapping[str, object] | None = None,
    parts: Parts | Mapping[str, Any] | None = None,
    fresh: Fresh | None = None,
    adapter: Adapter | Mapping[str, object] | None = None,
    context: int | None = None,
    too_long: Literal["cut", "refuse"] = "cut",
    recipe: Recipe | Mapping[str, object] | None = None,
    tuning: str | None = None,
    device: str = "auto",
    precision: Choice = "auto",
    deterministic: bool = False,
    seed: int = 0,
    **settings: object,
) -> nn.Module:
    """Return a new model that has unlearned the forget examples; `model` stays as it is.

    Images: `model` maps (n, c, h, w) to logits (n, classes); `retain` and `forget` are pairs (images, labels) of
    tensors or arrays, or torch Datasets, which are read once. Float images are given to the model as they are; uint8
    images need `normalise`, the mean and deviation by channel. `augment` is what dataset.augment is for a command.

    Text: `model` is a causal language model of transformers, with its `tokenizer`; `retain` and `forget` are lists of
    dicts in the forms of dataset=chat: `messages`, `prompt` and `completion`, `question` and `answer`, or `text`.
    `corrected` in a row is the answer that `instruct` and `icul` teach instead. `adapter` trains a new low-rank
    adapter instead of all weights, and merges it at the end. `context` limits the tokens of a conversation; longer
    ones are cut or refused.

    `method` is a name from `unlearnbench list methods`, with the command's defaults and the `settings` that change
    them (`epochs=2`, `optimizer={"lr": 1e-4}`), or a method object. `retain=None` is for methods that only use what to
    forget. `validation` steers a schedule that looks at it. `parts` names submodules (`head`, `blocks`, `mask_layer`)
    that are not found by themselves. `fresh` returns the model as it was before training, for `distill` and `retrain`;
    `recipe` is how `retrain` trains. `tuning` chooses other defaults of methods (configs/tuning).

    With equal data, settings and seeds, the result is the command's. It has the devices and number formats of `model`.
    Raises UserError for what does not fit together, and errors.Diverged where the loss stops being finite.
    """
    with python_words():
        check_values(
            precision=precision, deterministic=deterministic, too_long=too_long, context=context, generate=0, seed=seed
        )
        original = plain(model)
        options = Options(
            device=device, precision=precision, tokenizer=tokenizer, normalise=normalise, augment=augment, parts=parts,
            fresh=fresh, adapter=adapter, context=context, too_long=too_long,
        )  # fmt: skip
        bound = bind(original, {"retain": retain, "forget": forget, "validation": validation}, options)
        chosen = method_of(method, bound.info.kind, tuning, settings)
        work = Work(bound, original, chosen, recipe_of(recipe, bound.info.kind), stage_seed(seed, "unlearned"))
        with determinism.computing(bound.precision.device, deterministic=deterministic):
            return work.done()


@dataclass(frozen=True, eq=False)
class Work:
    """One unlearning: what is bound, the model that is not touched, the method, and its seed."""

    bound: Bound
    original: nn.Module
    method: Method
    recipe: Recipe
    seed: int

    def done(self) -> nn.Module:
        """Check, apply the method to a copy, and return the result in the original's form."""
        self._check()
        bound = self.bound
        student = bound.task.prepare(single(self.original))
        reference: nn.Module
        if adapter_of(bound.spec) is None:
            student.requires_grad_(True)
            reference = bound.task.prepare(single(self.original)).requires_grad_(False)
        else:
            with seeded(self.seed, "adapter"):
                student = trainable(bound.spec, student)
            with_adapter: Any = student
            reference = AdapterOff(with_adapter)
        try:
            with bar("unlearning") as progress:
                model = applied(self.method, student, self._problem(reference, progress))
        except Diverged as error:
            raise Diverged(error.step, "unlearned") from error
        return returned(weights.merged(model), self.original)

    def _check(self) -> None:
        """Raise UserError where the method cannot run here, before anything is trained."""
        info = self.bound.info
        count = len(self.bound.splits["forget"])
        check_alone(self.method, self.recipe, info, lambda: single(self.original).cpu(), count)
        if _schedule(self.method) == "plateau" and "validation" not in self.bound.splits:
            raise UserError(
                "the schedule plateau looks at validation examples, and there are none.\n"
                "Try: validation=EXAMPLES, or optimizer={'schedule': 'none'}"
            )
        check = getattr(self.method, "check", None)
        why_not = check(self._problem(meta(self.original), Quiet())) if check is not None else None
        if why_not is not None:
            raise UserError(f"the method cannot run here: {why_not}")

    def _problem(self, reference: nn.Module, progress: Progress) -> Problem:
        bound, nothing = self.bound, np.arange(0)
        kind = Problem if "retain" in bound.splits else WithoutRetain
        return kind(
            task=bound.task,
            info=bound.info,
            retain=bound.splits.get("retain", nothing),
            forget=bound.splits["forget"],
            validation=bound.splits.get("validation", nothing),
            reference=reference,
            spec=bound.spec,
            recipe=self.recipe,
            seed=self.seed,
            record=Record(),
            progress=progress,
            twins=bound.twins,
        )


def _schedule(method: Method) -> str:
    return str(getattr(getattr(method, "optimizer", None), "schedule", "none"))
