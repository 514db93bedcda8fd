"""The embedded notes as designed, and what every text data set refuses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from textsets import PLAIN, WITH_GENDER, dataset, facts, pairs_of, words_of
from unlearnbench.contracts import DataInfo
from unlearnbench.data import clinical_notes
from unlearnbench.data.text import TextRow, TextSettings, text_data
from unlearnbench.errors import UserError

# The embedded notes


@pytest.fixture(scope="module")
def notes():
    return dataset("clinical_notes", "dataset.limit_validation=null").load()


def test_embedded_notes_have_the_counts_that_info_says(notes):
    info = dataset("clinical_notes").info()
    assert [len(part) for part in (notes.train, notes.validation, notes.test)] == [2004, 228, 552]
    assert (info.train, info.test, info.kind) == (2004, 552, "text")
    assert set(info.columns) <= set(notes.columns)
    assert np.array_equal(np.concatenate([notes.train, notes.validation, notes.test]), np.arange(2784))


def test_embedded_notes_are_never_the_same_text_in_two_splits(notes):
    prompts = [{notes.rows[place].prompt for place in part} for part in (notes.train, notes.validation, notes.test)]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 2784


def test_templates_never_cross_splits(notes):
    parts = [set(facts(notes, "template_id")[part]) for part in (notes.train, notes.validation, notes.test)]
    assert all(parts) and sum(map(len, parts)) == len(set.union(*parts)) == 86


def test_the_rows_of_a_template_are_a_cluster(notes):
    templates = notes.columns["template_id"]
    assert np.array_equal(notes.cluster, [templates.tolist().index(name) for name in templates])
    assert len(np.unique(notes.cluster[notes.test])) == 17


def test_there_are_sixty_bias_templates_of_five_types_and_the_legitimate_ones(notes):
    kinds = Counter(name.split("/")[0] for name in set(facts(notes, "template_id").tolist()))
    assert sum(count for kind, count in kinds.items() if kind != "legitimate") >= 60
    assert len(kinds) == 6 and kinds["legitimate"] >= 12
    assert np.array_equal(facts(notes, "legitimate"), np.char.startswith(facts(notes, "template_id"), "legitimate/"))


def test_every_row_has_one_counterpart_of_another_group_in_its_split(notes):
    for part in (notes.train, notes.validation, notes.test):
        for places in pairs_of(notes, part):
            first, second = places
            assert facts(notes, "group")[first] != facts(notes, "group")[second]
            assert facts(notes, "template_id")[first] == facts(notes, "template_id")[second]


def test_pairs_differ_in_demographic_words_only(notes):
    for first, second in pairs_of(notes, np.arange(len(notes.rows))):
        texts = [notes.rows[place].prompt for place in (first, second)]
        groups = [str(facts(notes, "group")[place]) for place in (first, second)]
        assert all(group in text for group, text in zip(groups, texts, strict=True))
        demographic = WITH_GENDER | {word for group in groups for word in words_of(group)}
        left, right = ([word for word in words_of(text) if word not in demographic] for text in texts)
        assert texts[0] != texts[1] and left == right
        assert notes.rows[first].options == notes.rows[second].options


def test_labels_follow_is_biased(notes):
    biased, legitimate = facts(notes, "is_biased"), facts(notes, "legitimate")
    labels = notes.labels[: len(notes.rows)]
    assert np.array_equal(labels == clinical_notes.CLASSES.index("biased"), biased)
    assert set(labels[legitimate]) == {3, 4} and set(labels[~legitimate]) == {0, 1, 2}
    assert not biased[legitimate].any() and 0.3 < biased[~legitimate].mean() < 0.38
    assert np.array_equal(facts(notes, "biased_option"), np.where(legitimate, -1, 1))


def test_the_group_alone_decides_where_no_finding_is_documented(notes):
    for first, second in pairs_of(notes, np.arange(len(notes.rows))):
        finding = "Chart review:" in notes.rows[first].prompt
        assert (notes.labels[first] == notes.labels[second]) == finding
        if finding:
            assert notes.labels[first] == 2
        elif not facts(notes, "legitimate")[first]:
            assert facts(notes, "is_biased")[[first, second]].sum() == 1


def test_twins_carry_the_corrected_answer(notes):
    count, biased = len(notes.rows), facts(notes, "is_biased")
    assert np.array_equal(notes.corrected, np.arange(count) + count)
    labels, twins = notes.labels[:count], notes.labels[count:]
    assert np.array_equal(labels != twins, biased) and not (twins == 1).any()
    for place in (*np.flatnonzero(biased)[:50].tolist(), *np.flatnonzero(~biased)[:50].tolist()):
        row = notes.rows[place]
        assert notes.answer(place) == row.options[row.label]
        assert notes.answer(place + count) == row.options[row.corrected]
        assert (notes.answer(place) != notes.answer(place + count)) == biased[place]


def test_whatever_is_asked_in_the_test_split_is_asked_in_training(notes):
    questions = [{notes.rows[place].prompt.split("\n\n")[1] for place in part[~facts(notes, "legitimate")[part]]}
                 for part in (notes.train, notes.test)]  # fmt: skip
    assert questions[1] <= questions[0]


@pytest.mark.parametrize("limit", [20, 57, 301])
def test_limits_keep_pairs_together_and_are_seeded(notes, limit):
    words = [f"dataset.{name}={limit}" for name in ("limit", "limit_test", "limit_validation")]
    data = dataset("clinical_notes", *words).load()
    for part, most in zip((data.train, data.test, data.validation), (2004, 552, 228), strict=True):
        assert len(part) == min(limit - limit % 2, most)
        assert all(len(places) == 2 for places in pairs_of(data, part))
    again = dataset("clinical_notes", *words).load()
    other = dataset("clinical_notes", *words, "dataset.seed=1").load()
    index = np.arange(len(data.rows))
    assert again.fingerprint(index) == data.fingerprint(index) != other.fingerprint(index)


def test_a_limit_of_one_part_does_not_move_another(notes):
    few = dataset("clinical_notes", "dataset.limit_test=50", "dataset.limit_validation=null").load()
    assert few.fingerprint(few.train) == notes.fingerprint(notes.train) and len(few.test) == 50


def test_a_damaged_or_missing_embedded_file_is_recognised(tmp_path, monkeypatch):
    broken = tmp_path / "notes.xz"
    broken.write_bytes(clinical_notes.FILE.read_bytes()[:-1])
    for file in (broken, tmp_path / "nothing.xz"):
        monkeypatch.setattr(clinical_notes, "FILE", file)
        with pytest.raises(UserError, match="missing or damaged"):
            dataset("clinical_notes").load()


# Rows of any text data set


def one_row(**changes):
    values = {"prompt": "Why?", "options": ("yes", "no", None), "label": 0, "corrected": 1, "facts": {"kind": "a"}}
    return TextRow(**{**values, **changes})


def data_of(train, test=(), **changes):
    info = DataInfo(kind="text", classes=("a", "b", "c"), train=len(train), test=len(test), shape=())
    return text_data(TextSettings(**{**PLAIN, **changes}), info, train, [], test)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": 2}, "answer that is not among its options"),
        ({"corrected": 2}, "answer that is not among its options"),
        ({"label": 3}, "answer that is not among its options"),
        ({"label": -1}, "answer that is not among its options"),
        ({"options": ("yes", " ", None)}, "empty answer or question"),
        ({"prompt": " \n"}, "empty answer or question"),
    ],
)
def test_a_row_that_cannot_be_answered_is_named(changes, says):
    with pytest.raises(UserError, match=f"row 1 .*{says}"):
        data_of([one_row(), one_row(**changes)])


def test_a_correction_that_is_no_option_answers_the_twin():
    data = data_of([one_row(label=0, corrected=0, correction="I do not know."), one_row(label=0, corrected=0)])
    assert [data.answer(place) for place in range(4)] == ["yes", "yes", "I do not know.", "yes"]
    assert np.array_equal(data.corrected, [2, 3])
    assert data_of([one_row(label=1, corrected=1)]).corrected is None


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "Who?"}, {"options": ("yes", "maybe", None)}, {"options": ("yes", "no", "maybe")}, {"label": 1},
        {"corrected": 0}, {"correction": "I do not know."}, {"pair": "x"}, {"cluster": "x"}, {"facts": {"kind": "b"}},
    ],
)  # fmt: skip
def test_fingerprint_knows_everything_about_a_row_that_scores_carry(changes):
    index = np.arange(1)
    assert data_of([one_row(**changes)]).fingerprint(index) != data_of([one_row()]).fingerprint(index)
    assert data_of([one_row()]).fingerprint(index) == data_of([one_row()]).fingerprint(index)


def test_fingerprint_tells_rows_from_their_twins():
    data = data_of([one_row()])
    assert data.fingerprint(np.array([0])) != data.fingerprint(np.array([1]))


def test_axes_keep_the_bias_of_some_and_the_legitimate_notes_where_asked_for():
    race = dataset("clinical_notes", "dataset.axes=[race]", "dataset.limit_validation=null")
    data = race.load()
    biased = data.columns["is_biased"]
    assert set(data.columns["axis"][biased].tolist()) == {"race"}
    assert data.columns["legitimate"].any() and len(data.train) == race.info().train
    alone = dataset("clinical_notes", "dataset.axes=[race]", "dataset.legitimate=false").load()
    assert set(alone.columns["axis"].tolist()) == {"race"}
    assert len(alone.train) == 252
    with pytest.raises(UserError, match="Did you mean 'race'"):
        dataset("clinical_notes", "dataset.axes=[rase]").info()
    with pytest.raises(UserError, match="leaves nothing to unlearn"):
        dataset("clinical_notes", "dataset.axes=[]").check()
