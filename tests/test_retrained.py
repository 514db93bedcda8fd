"""A retrained model knows nothing of the forget set: whatever its examples say, key and weights are the same."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from unlearnbench.contracts import Data, Dataset, ModelSpec
from unlearnbench.data.clinical_notes import ClinicalNotes
from unlearnbench.data.images import ImageData
from unlearnbench.data.synthetic import Synthetic
from unlearnbench.data.text import TextData, TextRow
from unlearnbench.experiment import Experiment
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.column import Column
from unlearnbench.forget.random import Random
from unlearnbench.forget.splits import ForgetSet, Splits
from unlearnbench.graph.cache import Cache
from unlearnbench.methods.none import Nothing
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.stages.stages import Stages
from unlearnbench.training.recipe import Recipe
from worlds import ADAMW, CPU, LORA, SGD, llama, notes, same_weights, synthetic

ALL_BIASED = Column(column="is_biased", value=True, fraction=1.0, seed=0)
SOME = Random(fraction=0.2, count=None, seed=0)
TEXT = Recipe(epochs=2, batch_size=32, label_smoothing=0.0, optimizer=replace(ADAMW, schedule="plateau"))
IMAGES = Recipe(epochs=2, batch_size=64, label_smoothing=0.0, optimizer=replace(SGD, schedule="plateau"))
"""A plateau schedule reads the validation loss after each epoch."""


def stages(dataset: Dataset, data: Data, model: ModelSpec, forget: ForgetSet, folder) -> Stages:
    text = "text" in model.kinds
    experiment = Experiment(
        seed=0, dataset=dataset, model=model, forget=forget, method=Nothing(), recipe=TEXT if text else IMAGES,
        references=1, eval_held_out="test", eval_limit=None, eval_batch=50, eval_generate=4, extra={}, precision=CPU,
        deterministic=True,
    )  # fmt: skip
    return Stages(experiment, Cache(folder), data, forget.split(data))


def reworded(data: TextData, positions: np.ndarray) -> TextData:
    """Give rows other questions and answers: words that no row has, and a length that no other row comes to."""
    rows = list(data.rows)
    for position in positions.tolist():
        options = tuple(option and f"zyxwvut {option} qponmlk" for option in rows[position].options)
        prompt = "zyxwvut qponmlk " * 40 + rows[position].prompt
        rows[position] = TextRow(**{**vars(rows[position]), "prompt": prompt, "options": options})
    return replace(data, rows=tuple(rows))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two worlds that differ in what their forget rows say."""

    one: Stages
    other: Stages

    @property
    def splits(self) -> Splits:
        return self.one.splits

    def retrained(self) -> tuple[bool, bool]:
        """Return whether the retrained models have the same key, and the same weights when both are trained."""
        models = [each.retrained(0) for each in (self.one, self.other)]
        assert not any(model.stage.reused for model in models)
        keys = {model.key for model in models}
        return len(keys) == 1, same_weights(self.one.model(models[0]), self.other.model(models[1]))


def text(tmp_path, forget: ForgetSet, adapter=None, **changes: object) -> Compared:
    dataset: ClinicalNotes = notes(**changes)
    data = dataset.load()
    spec = llama(adapter) if adapter else llama()
    changed = reworded(data, forget.split(data).forget)
    return Compared(
        one=stages(dataset, data, spec, forget, tmp_path / "one"),
        other=stages(dataset, changed, spec, forget, tmp_path / "other"),
    )


@pytest.mark.parametrize(
    ("forget", "changes"),
    [
        (ALL_BIASED, {}),
        (SOME, {}),
        (replace(SOME, whole_pairs=True), {}),
        (replace(ALL_BIASED, fraction=0.5), {}),
        (ALL_BIASED, {"context": 120}),  # the changed rows are cut, and others with them in neither world
    ],
)
def test_what_forget_rows_say_changes_nothing_of_the_retrained_model(tmp_path, forget, changes):
    worlds = text(tmp_path, forget, **changes)
    assert worlds.retrained() == (True, True)
    retrained = [each.retrained(0) for each in (worlds.one, worlds.other)]
    for split, index in (("retain", worlds.splits.retain), ("test", worlds.splits.test)):
        scores = [each.scores(m, split, index) for each, m in zip((worlds.one, worlds.other), retrained, strict=True)]
        assert np.array_equal(scores[0].logits, scores[1].logits)
    assert worlds.one.original().key != worlds.other.original().key


def test_it_holds_under_an_adapter(tmp_path):
    assert text(tmp_path, ALL_BIASED, LORA).retrained() == (True, True)


def test_what_a_retain_row_says_does_change_it(tmp_path):
    dataset = notes()
    data = dataset.load()
    changed = reworded(data, ALL_BIASED.split(data).retain[:1])
    worlds = Compared(
        one=stages(dataset, data, llama(), ALL_BIASED, tmp_path / "one"),
        other=stages(dataset, changed, llama(), ALL_BIASED, tmp_path / "other"),
    )
    assert worlds.retrained() == (False, False)


def test_the_tokenizer_has_no_merge_of_words_that_forget_rows_alone_have(tmp_path):
    other = text(tmp_path, ALL_BIASED).other
    tokenizer = other.task.encoder.tokenizer
    assert not any(piece.lstrip("Ġ") in ("zyxwvut", "qponmlk") for piece in tokenizer.get_vocab())
    sentence = other.data.rows[int(other.splits.forget[0])].prompt
    assert tokenizer.decode(tokenizer(sentence)["input_ids"]) == sentence  # bytes spell what no merge holds


def test_two_forget_sets_have_two_originals_where_the_tokenizer_is_trained(tmp_path):
    dataset = notes()
    data = dataset.load()
    keys = {stages(dataset, data, llama(), forget, tmp_path).original().key for forget in (ALL_BIASED, SOME)}
    assert len(keys) == 2


@pytest.mark.parametrize("forget", [ByClass(classes=(0,), seed=0), SOME])
def test_what_forget_images_show_changes_nothing_of_the_retrained_model(tmp_path, forget):
    dataset: Synthetic = synthetic()
    data: ImageData = dataset.load()
    images = data.images.clone()
    images[forget.split(data).forget] = 255
    spec = TinyCNN(checkpoint=None)
    worlds = Compared(
        one=stages(dataset, data, spec, forget, tmp_path / "one"),
        other=stages(dataset, replace(data, images=images), spec, forget, tmp_path / "other"),
    )
    assert worlds.retrained() == (True, True)
    assert worlds.one.original().key != worlds.other.original().key
