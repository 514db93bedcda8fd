"""Weights that somebody else unlearned, in place of a method: they are loaded, and measured like any other's.

An image model is a file, or a folder with model.safetensors; a language model is a folder of save_pretrained, whole or
as an adapter. An adapter belongs to the run's original or to the base model; its configuration names which, or you do.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from unlearnbench.errors import UserError
from unlearnbench.models import checkpoint, finetuned, weights
from unlearnbench.models.loading import hush, tokenizer
from unlearnbench.models.start import is_four_bit, is_language, started
from unlearnbench.problem import Family, Problem
from unlearnbench.tasks.kinds import text_task

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class External:
    """Load the weights at `path`, which somebody else unlearned; the path itself is in no key.

    `onto` is the model that an adapter is merged into; null: the one that its configuration names.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    family: ClassVar[Family] = "baseline"
    year: ClassVar[int] = 0
    cost_note: ClassVar[str] = "nobody here knows how long somebody else's unlearning took"
    path: Path | None = field(metadata={"key": False})
    onto: Literal["original", "base"] | None

    def files(self) -> dict[str, Path]:
        """Return the files of the weights: their content is part of every key."""
        place = self._place()
        return {"weights": place} if place.is_file() else finetuned.files(place)

    def settled(self, spec: Any) -> External:
        """Return the method with `onto` decided, so that keys know which model an adapter is merged into."""
        if not is_language(spec) or self.onto is not None or not finetuned.is_adapter(self._place()):
            return self
        return replace(self, onto=self._beneath(spec))

    def check(self, problem: Problem) -> None:
        """Raise UserError where the weights do not fit the run's model."""
        if not is_language(problem.spec):
            self._into(problem.spec.build(problem.info))
            return
        if is_four_bit(problem.spec):
            raise UserError(
                "method=external compares weights as they are, and 4 bits would round them.\n"
                "Try: model.load_in_4bit=false"
            )
        with torch.device("meta"):
            like = problem.spec.build(problem.info)
        finetuned.check(self._folder(), like, self._typed)
        if finetuned.is_adapter(self._folder()):
            self._beneath(problem.spec)
        self._check_tokenizer(text_task(problem.task).encoder.tokenizer)

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        """Return the model with somebody else's weights."""
        if not is_language(problem.spec):
            return self._into(model)

        def start() -> nn.Module:
            of_base = self._beneath(problem.spec) == "base"
            return problem.task.prepare(started(problem.spec, problem.info)) if of_base else weights.merged(model)

        hush()
        return problem.task.prepare(finetuned.load(self._folder(), start, self._typed))

    @property
    def _typed(self) -> str:
        return f"{self.path} (method.path)"

    def _place(self) -> Path:
        """Return the file or folder; of a run's folder, its model."""
        if self.path is None:
            raise UserError(
                "method=external needs the weights that somebody else unlearned.\n"
                "Try: method.path=FILE or method.path=FOLDER"
            )
        if not self.path.exists():
            raise UserError(f"{self._typed} does not exist.\nTry: an absolute path to a file or folder with weights")
        return self.path / "model" if (self.path / "result.json").is_file() else self.path

    def _folder(self) -> Path:
        place = self._place()
        if place.is_file():
            raise UserError(
                f"{self._typed} is a file; a language model is a folder.\nTry: the folder with its config.json"
            )
        return place

    def _into(self, model: nn.Module) -> nn.Module:
        """Load an image model's weights into the model."""
        place = self._place()
        if place.is_dir() and not (place / WEIGHTS).is_file():
            raise UserError(f"{self._typed} holds no {WEIGHTS}.\nTry: a .safetensors or .pt file")
        checkpoint.load(model, place / WEIGHTS if place.is_dir() else place, self._typed)
        return model

    def _beneath(self, spec: Any) -> Literal["original", "base"]:
        """Return which model the adapter changes; raise UserError where neither it nor the user says so.

        Whole paths decide first, as two folders may have one name (`base/final` and `finetuned/final`).
        """
        if self.onto is not None:
            return self.onto
        named, hub = finetuned.base_named(self._folder()), str(getattr(spec, "hub", "") or "")
        base, original = (getattr(spec, name, None) for name in ("path", "checkpoint"))
        if named and (named == hub or _same(named, base)):
            return "base"
        if named and _same(named, original):
            return "original"
        last = _last(named)
        of_original = bool(last) and last in (_last(original), "original")
        of_base = bool(last) and last in (_last(base), _last(hub))
        if of_original != of_base:
            return "original" if of_original else "base"
        which = "by its name could be both this run's original and" if of_base else "is neither this run's original nor"
        raise UserError(
            f"{self._typed} is an adapter of {named or 'a model that it does not name'}, which {which} the model that "
            "retraining starts from.\nTry: method.onto=original, or method.onto=base"
        )

    def _check_tokenizer(self, ours: Any) -> None:
        """Raise UserError where the folder brings a tokenizer that numbers tokens otherwise than the run's."""
        folder = self._folder()
        if finetuned.has_tokenizer(folder) and tokenizer(folder).get_vocab() != ours.get_vocab():
            raise UserError(
                f"{self._typed} brings another tokenizer than this run's: its scores would be of other tokens.\n"
                "Try: model.path=FOLDER or model.hub=NAME of the model that it was made from"
            )


def _same(named: str, place: Path | None) -> bool:
    return place is not None and "\0" not in named and os.path.realpath(named) == os.path.realpath(place)


def _last(place: Path | str | None) -> str:
    """Return the last part of a path, or of a name of the hub; "" for none."""
    text = str(place.resolve()) if isinstance(place, Path) else place or ""
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1]
