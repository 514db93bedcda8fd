"""Tasks: the only place where images and text differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearnbench.contracts import Data, DataInfo, Dataset, Index, ModelSpec
from unlearnbench.machine.precision import Precision
from unlearnbench.task import Task

if TYPE_CHECKING:
    from unlearnbench.data.text import TextData


def learns_words(info: DataInfo) -> bool:
    """Return whether a model may learn a tokenizer from the rows that it may know."""
    return info.kind == "text"


def bind(
    data: Data,
    retain: Index | None,
    dataset: Dataset,
    precision: Precision,
    model: ModelSpec,
    score_batch: int,
    generate: int,
) -> Task:
    """Return the task for this kind of data, bound to data, settings, model and precision.

    If the model trains its own tokenizer, it sees only the rows at `retain` (None for images): all roles of a run share
    the tokenizer, and a retrained model must not know anything about the forget set.
    """
    if data.info.kind == "text":
        assert retain is not None
        return _text(data, retain, dataset, precision, model, score_batch, generate)
    from unlearnbench.data.images import ImageData, ImageSettings
    from unlearnbench.tasks.image import ImageTask

    assert isinstance(data, ImageData) and isinstance(dataset, ImageSettings)
    return ImageTask(data, dataset, precision, model.parts().head, score_batch)


def _text(
    data: Data, retain: Index, dataset: Dataset, precision: Precision, model: ModelSpec, score_batch: int, generate: int
) -> Task:
    from unlearnbench.data.text import TextData, TextSettings
    from unlearnbench.tasks.encoding import Encoder, Limit
    from unlearnbench.tasks.text import TextTask

    assert isinstance(data, TextData) and isinstance(dataset, TextSettings)
    texts = [_said(data, place) for place in retain.tolist()]
    own = getattr(model, "context", None)
    key = "model.context" if own is not None and "context" in vars(model) else None
    limit = Limit(asked=dataset.context, too_long=dataset.too_long, model=own, model_key=key)
    language: Any = model
    encoder = Encoder(language.tokenizer(texts), data.chat, limit)
    return TextTask(data, encoder, precision, model, score_batch, generate)


def _said(data: TextData, place: int) -> str:
    """Return all that is said in a row, one message a line: what a tokenizer is trained on."""
    row = data.rows[place]
    asked = [*(said for _, said in row.history), *([row.prompt] if data.chat else [])]
    return "\n".join([*asked, data.answer(place)])
