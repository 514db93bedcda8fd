"""A retrained model knows nothing of the forget set: whatever its examples say, key and weights are the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from toys import made
from unlearnbench.data.clinical_notes import ClinicalNotes
from unlearnbench.data.images import ImageData
from unlearnbench.data.synthetic import Synthetic
from unlearnbench.data.text import TextData, TextRow
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.column import Column
from unlearnbench.forget.random import Random
from unlearnbench.forget.splits import ForgetSet
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.stages.score import Score
from unlearnbench.stages.world import World
from unlearnbench.training.recipe import Recipe
from worlds import ADAMW, LORA, SGD, llama, notes, same_weights, synthetic, trained, world

ALL_BIASED = Column(column="is_biased", value=True, fraction=1.0, seed=0)
SOME = Random(fraction=0.2, count=None, seed=0)
TEXT = Recipe(epochs=2, batch_size=32, label_smoothing=0.0, optimizer=replace(ADAMW, schedule="plateau"))
IMAGES = Recipe(epochs=2, batch_size=64, label_smoothing=0.0, optimizer=replace(SGD, schedule="plateau"))
"""A plateau schedule reads the validation loss after each epoch."""


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
    """Two worlds that differ in what their forget rows say, and a folder for what is trained there."""

    one: World
    other: World
    recipe: Recipe
    folder: Path

    def keys(self, role: str) -> int:
        """Return how many keys the trainings of a role have in the two worlds."""
        return len({trained(each, role, self.recipe).key for each in (self.one, self.other)})

    def retrained(self) -> tuple[bool, bool]:
        """Return whether the retrained models have the same key, and the same weights when both are trained."""
        models = []
        for number, each in enumerate((self.one, self.other)):
            stage, workshop = made(self.folder / str(number), trained(each, "retrained_0", self.recipe))
            models.append(stage.build(workshop))
        return self.keys("retrained_0") == 1, same_weights(*models)

    def scores(self, split: str) -> list[np.ndarray]:
        """Return the logits of the two retrained models on a split."""
        found = []
        for number, each in enumerate((self.one, self.other)):
            model = trained(each, "retrained_0", self.recipe)
            stage, workshop = made(self.folder / str(number), Score(each.bench, model, split, vars(each.splits)[split]))
            found.append(stage.read(workshop).logits)
        return found


def text(tmp_path, forget: ForgetSet, adapter=None, **changes: object) -> Compared:
    dataset: ClinicalNotes = notes(**{"limit": 60, "limit_test": 16, **changes})
    data = dataset.load()
    spec = llama(adapter) if adapter else llama()
    changed = reworded(data, forget.split(data).forget)
    one, other = (world(dataset, each, spec, forget) for each in (data, changed))
    return Compared(one=one, other=other, recipe=TEXT, folder=tmp_path)


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
    for split in ("retain", "test"):
        assert np.array_equal(*worlds.scores(split))
    assert worlds.keys("original") == 2


def test_it_holds_under_an_adapter(tmp_path):
    assert text(tmp_path, ALL_BIASED, LORA).retrained() == (True, True)


def test_what_a_retain_row_says_does_change_it(tmp_path):
    dataset = notes()
    data = dataset.load()
    changed = reworded(data, ALL_BIASED.split(data).retain[:1])
    one, other = (world(dataset, each, llama(), ALL_BIASED) for each in (data, changed))
    worlds = Compared(one=one, other=other, recipe=TEXT, folder=tmp_path)
    assert worlds.retrained() == (False, False)


def test_the_tokenizer_has_no_merge_of_words_that_forget_rows_alone_have(tmp_path):
    other = text(tmp_path, ALL_BIASED).other
    tokenizer = other.bench.task.encoder.tokenizer
    assert not any(piece.lstrip("Ġ") in ("zyxwvut", "qponmlk") for piece in tokenizer.get_vocab())
    sentence = other.bench.data.rows[int(other.splits.forget[0])].prompt
    assert tokenizer.decode(tokenizer(sentence)["input_ids"]) == sentence  # bytes spell what no merge holds


def test_two_forget_sets_have_two_originals_where_the_tokenizer_is_trained(tmp_path):
    dataset = notes()
    data = dataset.load()
    both = (world(dataset, data, llama(), forget) for forget in (ALL_BIASED, SOME))
    keys = {trained(each, "original", TEXT).key for each in both}
    assert len(keys) == 2


@pytest.mark.parametrize("forget", [ByClass(classes=(0,), seed=0), SOME])
def test_what_forget_images_show_changes_nothing_of_the_retrained_model(tmp_path, forget):
    dataset: Synthetic = synthetic()
    data: ImageData = dataset.load()
    images = data.images.clone()
    images[forget.split(data).forget] = 255
    spec = TinyCNN(checkpoint=None)
    one, other = (world(dataset, each, spec, forget) for each in (data, replace(data, images=images)))
    worlds = Compared(one=one, other=other, recipe=IMAGES, folder=tmp_path)
    assert worlds.retrained() == (True, True)
    assert worlds.keys("original") == 2
