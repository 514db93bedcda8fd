"""Rows of text in hand, as the data of a task: the forms of dataset=chat, whose readers are used."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from unlearnbench.contracts import DataInfo, Index
from unlearnbench.data.chat import ANSWER, classes_of, row_of
from unlearnbench.data.forms import FORMS, Form, form_of, said
from unlearnbench.data.records import Record
from unlearnbench.data.text import TextData, TextRow, TextSettings
from unlearnbench.errors import UserError
from unlearnbench.machine.precision import resolve
from unlearnbench.models.adapter import Adapter, check
from unlearnbench.models.four_bit import layers
from unlearnbench.python.bound import Bound, Options
from unlearnbench.python.models import TextModel, meta, text_parts
from unlearnbench.python.settings import settings_of
from unlearnbench.tasks import bind as bind_task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONGEST = 2**20
SCORE_BATCH = 50


def bind(
    model: nn.Module, examples: Mapping[str, object], tokenizer: PreTrainedTokenizerBase, options: Options
) -> Bound:
    """Return the rows of each split bound to model and tokenizer; raise UserError for what does not fit together."""
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} is not a fast tokenizer of transformers.\n"
            "Try: AutoTokenizer.from_pretrained(FOLDER)"
        )
    precision = resolve(options.precision, options.device, "", 0)
    spec = TextModel(
        model=model,
        words=copy.deepcopy(tokenizer),  # a chat template may be added to it
        named=text_parts(model, options.named),
        fresh=options.fresh,
        adapter=_adapter(model, options.adapter),
    )
    data, splits = _joined({name: records_of(name, given) for name, given in examples.items()})
    context = LONGEST if options.context is None else options.context
    settings: Any = TextSettings(
        limit=None, limit_test=None, limit_validation=None, context=context, too_long=options.too_long, seed=0
    )
    known: Any = data
    seen = splits.get("retain", splits["forget"])
    task = bind_task(known, seen, settings, precision, spec, SCORE_BATCH, options.generate)
    return Bound(
        task=task, info=data.info, spec=spec, precision=precision, splits=splits, labels=data.labels,
        twins=data.corrected,
    )  # fmt: skip


def records_of(name: str, given: object) -> list[Record]:
    """Return the rows of a split as those of a file; raise UserError if they are not a list of dicts."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise UserError(
            f"{name}: expected a list of dicts, got {type(given).__name__}.\n"
            f"Try: {name}=[{{'question': TEXT, 'answer': TEXT}}]"
        )
    if not given:
        raise UserError(f"{name} is empty.")
    for number, one in enumerate(given):
        if not isinstance(one, Mapping):
            raise UserError(f"{name}[{number}]: expected a dict, got {type(one).__name__}.")
    return [Record(dict(one), number, f"{name}[{number}]") for number, one in enumerate(given)]


def _rows(records: Sequence[Record], form: Form) -> list[TextRow]:
    """Return what the records say; `corrected` is the answer that `instruct` and `icul` teach instead."""
    texts = [said(one, form) for one in records]
    classes = classes_of(texts)
    rows = []
    for one, text in zip(records, texts, strict=True):
        corrected = one.values.get("corrected")
        if corrected is not None and not (isinstance(corrected, str) and corrected.strip()):
            raise UserError(f"{one.where}: corrected must be a text that is not empty.")
        rows.append(replace(row_of(text, classes, {}), correction=corrected))
    return rows


def _form(records: Sequence[Record]) -> Form:
    """Return the form of the rows, messages before the other ones; raise UserError if some have another form."""
    first = next((form for form, keys in FORMS.items() if set(keys) <= records[0].values.keys()), None)
    return form_of(records, first)


def _adapter(model: nn.Module, given: Adapter | Mapping[str, object] | None) -> Adapter | None:
    """Return the new adapter to train through, or None to train all weights; raise UserError if it does not fit."""
    if given is None:
        if layers(model):
            raise UserError(
                "4-bit weights cannot be trained, so the model needs an adapter.\n"
                "Try: adapter={'r': 16, 'alpha': 32, 'dropout': 0.0, 'targets': ['q_proj', 'v_proj']}"
            )
        return None
    found = settings_of(Adapter, given, "adapter")
    check(meta(model), found)
    return found


def _joined(read: Mapping[str, Sequence[Record]]) -> tuple[TextData, dict[str, Index]]:
    """Return all rows in one sequence, and the positions of each split."""
    ends = np.cumsum([0, *(len(rows) for rows in read.values())])
    splits = {name: np.arange(ends[place], ends[place + 1]) for place, name in enumerate(read)}
    records, nothing = [row for part in read.values() for row in part], np.arange(0)
    form = _form(records)
    rows = tuple(_rows(records, form))
    train, test = np.concatenate([splits.get("retain", nothing), splits["forget"]]), splits.get("test", nothing)
    options = len(rows[0].options)
    classes = ANSWER if options == 1 else tuple(f"option {number}" for number in range(1, options + 1))
    info = DataInfo(kind="text", classes=classes, train=len(train), test=len(test), shape=())
    data = TextData(
        info=info, rows=rows, train=train, validation=splits.get("validation", nothing), test=test,
        chat=form != "text", every_answer=True,
    )  # fmt: skip
    return data, splits
