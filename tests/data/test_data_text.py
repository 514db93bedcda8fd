"""Text data sets: the embedded notes as designed, tables and JSON lines by hand, and clear words for what is wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas
import pytest

import unlearnbench
from unlearnbench.compose import compose
from unlearnbench.config import build
from unlearnbench.data import clinical_notes, files
from unlearnbench.data.bbq import Bbq
from unlearnbench.data.clinical_bias import ClinicalBias
from unlearnbench.data.crows_pairs import CrowsPairs
from unlearnbench.data.files import json_lines
from unlearnbench.data.text import TextRow, TextSettings, assemble
from unlearnbench.data.tofu import Tofu
from unlearnbench.errors import UserError
from unlearnbench.forget import Column
from unlearnbench.problem import DataInfo

PLAIN = {"limit": None, "limit_test": None, "limit_validation": None, "context": 64, "too_long": "cut", "seed": 0}
WITH_GENDER = {"a", "an", "she", "he", "her", "him", "his"}


def dataset(name, *words):
    return build(compose([f"dataset={name}", *words]).request.config["dataset"], "dataset")


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def words_of(text):
    return re.findall(r"\w+", text.lower())


# The embedded notes


@pytest.fixture(scope="module")
def notes():
    return dataset("clinical_notes", "dataset.limit_validation=null").load()


def facts(data, name):
    return data.columns[name]


def pairs_of(data, positions):
    found = {}
    for position in positions.tolist():
        found.setdefault(int(data.unit[position]), []).append(position)
    return list(found.values())


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
    return assemble(TextSettings(**{**PLAIN, **changes}), info, train, [], test)


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
        {"corrected": 0}, {"correction": "I do not know."}, {"pair": "x"}, {"facts": {"kind": "b"}},
    ],
)  # fmt: skip
def test_fingerprint_knows_everything_about_a_row_that_scores_carry(changes):
    index = np.arange(1)
    assert data_of([one_row(**changes)]).fingerprint(index) != data_of([one_row()]).fingerprint(index)
    assert data_of([one_row()]).fingerprint(index) == data_of([one_row()]).fingerprint(index)


def test_fingerprint_tells_rows_from_their_twins():
    data = data_of([one_row()])
    assert data.fingerprint(np.array([0])) != data.fingerprint(np.array([1]))


# Tables: clinical_bias

STATEMENTS = [
    "Patient is a frequent flyer, and \"claims\" pain.", "Zwölf Stunden ruhig; 37,5 °C.", "Line one\nline two", "12",
    *(f"The patient reports symptom {number}, as described." for number in range(36)),
]  # fmt: skip


def bias(root=None, **changes):
    values = {"root": root, "hub": "shainahub/clinical_bias", "revision": None, "validation": 0.1, "test": 0.25}
    return ClinicalBias(**{**PLAIN, **values, **changes})


def table(statements=tuple(STATEMENTS), **columns):
    count = len(statements)
    values = {"SUBJECT_ID": range(count), "TEXT": statements, "is_biased": [n % 3 == 0 for n in range(count)],
              "biased_words": ["x"] * count}  # fmt: skip
    return pandas.DataFrame({**values, **columns})


def saved(frame, file):
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    elif file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_json(file, orient="records", lines=True, force_ascii=False)
    return file


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_table_gives_the_same_rows_in_every_format(tmp_path, suffix):
    data = bias(saved(table(), tmp_path / f"table{suffix}")).load()
    rows = {row.prompt: row for row in data.rows}
    assert len(rows) == 40
    for number, text in enumerate(STATEMENTS):
        row = rows[f"{text}\n\nIs this statement biased?"]
        assert (row.label, row.corrected) == ((0, 1) if number % 3 == 0 else (1, 1))
        assert row.facts == {"is_biased": number % 3 == 0, "biased_option": 0}
    assert [len(part) for part in (data.test, data.validation, data.train)] == [10, 4, 26]


def test_formats_agree_on_which_rows_are_held_out(tmp_path):
    prints = set()
    for suffix in files.SUFFIXES:
        data = bias(saved(table(), tmp_path / f"table{suffix}")).load()
        prints.add(data.fingerprint(np.arange(2 * len(data.rows))))
    assert len(prints) == 1


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_words_that_look_like_missing_values_are_text(tmp_path, suffix):
    texts = ("None", "NA", "null", "nan", *STATEMENTS)
    data = bias(saved(table(texts), tmp_path / f"table{suffix}")).load()
    assert {row.prompt.split("\n\nIs")[0] for row in data.rows} == set(texts)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("text", ["", "  ", None])
def test_a_statement_without_text_is_refused(tmp_path, suffix, text):
    file = saved(table((*STATEMENTS, text)), tmp_path / f"table{suffix}")
    with pytest.raises(UserError, match="row 40"):
        bias(file).load()


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("word", ["perhaps", "2", "", None])
def test_an_unreadable_is_biased_is_named_with_its_row(tmp_path, suffix, word):
    marks = ["true", "false", word, *["true"] * 37]
    with pytest.raises(UserError, match=r"row 2 has is_biased=.*expected true or false"):
        bias(saved(table(is_biased=marks), tmp_path / f"table{suffix}")).load()


@pytest.mark.parametrize("marks", [("yes", "no"), (1, 0), (1.0, 0.0), ("Biased", " not biased "), (True, False)])
@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_is_biased_is_read_in_several_words(tmp_path, suffix, marks):
    data = bias(saved(table(is_biased=[marks[n % 2] for n in range(40)]), tmp_path / f"t{suffix}")).load()
    assert Counter(data.columns["is_biased"].tolist()) == {True: 20, False: 20}


def test_the_seed_draws_what_is_held_out_and_all_parts_are_disjoint(tmp_path):
    file = saved(table(), tmp_path / "table.csv")
    first, other = bias(file).load(), bias(file, seed=1).load()
    prompts = [{first.rows[place].prompt for place in part} for part in (first.train, first.validation, first.test)]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 40
    assert {other.rows[place].prompt for place in other.test} != prompts[2]
    assert bias(file).load().fingerprint(first.test) == first.fingerprint(first.test)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_missing_columns_are_named(tmp_path, suffix):
    file = saved(table().rename(columns={"TEXT": "text"}), tmp_path / f"table{suffix}")
    with pytest.raises(UserError, match=r"lacks the columns \['TEXT'\].*'text'"):
        bias(file).load()


def test_one_table_in_a_folder_is_found_and_several_or_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"nor a folder with one: 0.\nTry: dataset.root=FILE"):
        bias(tmp_path).check()
    saved(table(), tmp_path / "one.csv")
    (tmp_path / "README.md").write_text("not a table")
    bias(tmp_path).check()
    assert len(bias(tmp_path).load().rows) == 40
    saved(table(), tmp_path / "two.jsonl")
    for attempt in (bias(tmp_path).check, bias(tmp_path).load):
        with pytest.raises(UserError, match="nor a folder with one: 2"):
            attempt()


def test_a_root_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("not a table")
    with pytest.raises(
        UserError, match=r"dataset\.root=.*README\.md is no .parquet, .csv, .jsonl file of clinical_bias"
    ):
        bias(tmp_path / "README.md").check()
    with pytest.raises(UserError, match=r"nothing\.csv does not exist"):
        bias(tmp_path / "nothing.csv").check()


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_damaged_table_is_refused(tmp_path, suffix):
    file = tmp_path / f"table{suffix}"
    file.write_bytes(b"\x93\xff{")
    with pytest.raises(UserError, match=rf"table{suffix} cannot be read: .|lacks the columns"):
        bias(file).load()
    file.write_bytes(b"")
    with pytest.raises(UserError, match=rf"table{suffix} cannot be read: .|lacks the columns"):
        bias(file).load()


# The hub


def fake_hub(monkeypatch, load):
    module = ModuleType("datasets")
    module.load_dataset, module.concatenate_datasets = load, lambda parts: Frames(parts)
    monkeypatch.setitem(sys.modules, "datasets", module)


class Frames(list):
    def to_pandas(self):
        return pandas.concat(self, ignore_index=True)


def test_without_the_extra_datasets_the_hub_names_the_remedies(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "datasets" else find(name))
    for one in (bias(), CrowsPairs(root=None, hub="nyu-mll/crows_pairs", revision=None, **PLAIN)):
        with pytest.raises(UserError, match=r"pip install 'unlearnbench\[hub\]', or dataset.root=FILE, or ") as error:
            one.check()
        assert one.hub in str(error.value)


def test_offline_the_hub_is_not_asked(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE=1"):
        bias().check()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    bias().check()


def test_all_splits_of_the_hub_are_read_at_the_revision(monkeypatch):
    asked = []

    def load(hub, revision):
        asked.append((hub, revision))
        return {"train": table().iloc[:30], "test": table().iloc[30:]}

    fake_hub(monkeypatch, load)
    assert len(bias(revision="abc").load().rows) == 40
    assert asked == [("shainahub/clinical_bias", "abc")]


@pytest.mark.parametrize("error", [RuntimeError("gated\nlog in"), ConnectionError()])
def test_a_hub_that_refuses_says_what_to_do(monkeypatch, error):
    def load(hub, revision):
        raise error

    fake_hub(monkeypatch, load)
    with pytest.raises(UserError, match=r"shainahub/clinical_bias cannot be had .*\nTry: a login"):
        bias().load()


# JSON lines


def test_json_lines_skips_blank_lines_and_keeps_the_order(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n\n  \n{"a": "ü"}', encoding="utf-8")
    assert json_lines(file) == [{"a": 1}, {"a": "ü"}]


def test_a_damaged_line_is_named_with_its_number(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n\n{"a": \n{"a": 2}\n')
    with pytest.raises(UserError, match=r"a.jsonl, line 3: "):
        json_lines(file)


@pytest.mark.parametrize("line", ["[1, 2]", "3", '"text"', "null"])
def test_a_line_that_is_no_object_is_damaged(tmp_path, line):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=r"a.jsonl, line 2: "):
        json_lines(file)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes('{"a": "ü"}\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"a.jsonl"):
        json_lines(file)


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029"])
def test_unusual_line_separators_inside_a_text_do_not_end_the_line(tmp_path, mark):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"a": f"one{mark}two"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert json_lines(file) == [{"a": f"one{mark}two"}]


def test_no_file_of_json_lines_is_said(tmp_path):
    with pytest.raises(UserError, match=r"a.jsonl does not exist"):
        json_lines(tmp_path / "a.jsonl")


# TOFU


def asked(number, part, **more):
    return {"question": f"{part} question {number}?", "answer": f"{part} answer {number}.", **more}


def options(number, part, wrong):
    return {"paraphrased_answer": f"{part} paraphrase {number}.",
            "perturbed_answer": [f"{part} wrong {number} {k}." for k in range(wrong)]}  # fmt: skip


@pytest.fixture
def tofu(tmp_path):
    """Twelve questions of three tasks to forget, eight to retain, of which some have wrong answers; small tests."""
    tasks = [asked(n, "forget", task_id=str(n // 4 + 1)) for n in range(12)]
    retain = [asked(n, "retain") for n in range(8)]
    write(tmp_path / "forget10.json", tasks)
    write(tmp_path / "retain10.json", retain)
    write(tmp_path / "forget10_perturbed.json", [{**row, **options(n, "forget", 5)} for n, row in enumerate(tasks[:6])])
    write(tmp_path / "retain_perturbed.json", [{**row, **options(n, "retain", 4)} for n, row in enumerate(retain[:3])])
    for part in ("real_authors", "world_facts"):
        rows = [
            asked(n, part, perturbed_answer=[f"wrong {k}" for k in range(3)], original_answer="x") for n in range(4)
        ]
        write(tmp_path / f"{part}_perturbed.json", rows)
    (tmp_path / "idontknow.jsonl").write_text("I do not know.\n\nNo idea.\nThat is beyond me.\n", encoding="utf-8")
    return tmp_path


def loaded(root):
    one = Tofu(root=root, **PLAIN)
    one.check()
    return one.load()


def test_tofu_trains_on_tasks_and_retain_and_tests_on_authors_and_facts(tofu):
    data = loaded(tofu)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [20, 0, 8]
    part = data.columns["part"]
    assert Counter(part[data.train].tolist()) == {"forget10": 12, "retain10": 8}
    assert Counter(part[data.test].tolist()) == {"real_authors": 4, "world_facts": 4}
    assert set(Tofu(root=tofu, **PLAIN).info().columns) == set(data.columns)
    assert [data.answer(place) for place in (0, 12)] == ["forget answer 0.", "retain answer 0."]


def test_tofu_paraphrase_and_perturbed_answers_are_options(tofu):
    data = loaded(tofu)
    wrong = tuple(f"forget wrong 2 {k}." for k in range(5))
    assert data.rows[2].options == ("forget answer 2.", "forget paraphrase 2.", *wrong)
    assert data.rows[13].options[1:] == ("retain paraphrase 1.", *(f"retain wrong 1 {k}." for k in range(4)), None)
    assert data.rows[19].options == ("retain answer 7.", *[None] * 6)
    assert data.rows[data.test[0]].options == (
        "real_authors answer 0.",
        None,
        *(f"wrong {k}" for k in range(3)),
        None,
        None,
    )
    assert data.columns["has_options"][data.train].tolist() == [n < 6 or 12 <= n < 15 for n in range(20)]
    assert data.columns["has_options"][data.test].all()
    assert all(len(row.options) == len(data.info.classes) == 7 for row in data.rows)


def test_tofu_refusals_are_the_corrected_answers_of_what_is_trained_on(tofu):
    data = loaded(tofu)
    count, refusals = len(data.rows), ["I do not know.", "No idea.", "That is beyond me."]
    assert [data.answer(count + place) for place in range(7)] == [refusals[n % 3] for n in range(7)]
    for place in data.test.tolist():
        assert data.answer(count + place) == data.answer(place)


@pytest.mark.parametrize(("task", "goes"), [("1", range(4)), ("3", range(8, 12))])
def test_tofu_tasks_are_forgotten_by_their_column(tofu, task, goes):
    data = loaded(tofu)
    splits = Column(column="task_id", value=task, fraction=1.0, seed=0).split(data)
    assert splits.forget.tolist() == list(goes)
    assert np.array_equal(np.union1d(splits.forget, splits.retain), data.train)


def test_tofu_tasks_can_be_named_on_the_command_line(tofu):
    composed = compose(["dataset=tofu", "forget=column", "forget.column=task_id", "forget.value=2"]).request.config
    splits = build(composed["forget"], "forget").split(loaded(tofu))
    assert splits.forget.tolist() == [4, 5, 6, 7]


def test_tofu_a_question_asked_of_two_authors_keeps_the_options_of_each(tofu):
    shared = {"question": "What is the full name of the author?"}
    for name, part in (("forget10", "forget"), ("retain10", "retain")):
        write(tofu / f"{name}.json", [{**shared, "answer": f"{part} name", "task_id": "1"}])
        perturbed = "forget10_perturbed" if part == "forget" else "retain_perturbed"
        write(tofu / f"{perturbed}.json", [{**shared, "answer": f"{part} name", **options(0, part, 5)}])
    data = loaded(tofu)
    assert [data.rows[place].options[:2] for place in data.train] == [
        ("forget name", "forget paraphrase 0."),
        ("retain name", "retain paraphrase 0."),
    ]


def test_tofu_missing_files_are_named(tofu):
    (tofu / "idontknow.jsonl").unlink()
    (tofu / "retain10.json").unlink()
    with pytest.raises(UserError, match=r"lacks TOFU's retain10.json, idontknow.jsonl.\nTry: dataset.root=FOLDER"):
        Tofu(root=tofu, **PLAIN).check()
    with pytest.raises(UserError, match=r"dataset.root=None lacks TOFU's forget10.json"):
        Tofu(root=None, **PLAIN).check()


@pytest.mark.parametrize(
    "row", [{"question": "x?", "answer": ""}, {"question": "x?"}, {"answer": "x"}, {"question": "x?", "answer": None}]
)
def test_tofu_a_row_without_question_or_answer_is_refused(tofu, row):
    write(tofu / "retain10.json", [asked(0, "retain"), row])
    with pytest.raises(UserError, match=r"answer|question"):
        loaded(tofu)


def test_tofu_without_any_refusal_is_refused(tofu):
    (tofu / "idontknow.jsonl").write_text("\n")
    with pytest.raises(UserError, match="idontknow"):
        loaded(tofu)


# BBQ


def bbq_line(polarity="neg", condition="ambig", marks=("old", "nonOld", "unknown"), groups=("old",), **changes):
    infos = [[name, mark] for name, mark in zip(("grandfather", "grandson", "Not known"), marks, strict=True)]
    values = {
        "question_polarity": polarity, "context_condition": condition, "category": "Age",
        "answer_info": {f"ans{n}": info for n, info in enumerate(infos)},
        "additional_metadata": {"stereotyped_groups": list(groups)}, "context": "Two people.", "question": "Who?",
        "ans0": "The grandfather", "ans1": "The grandson", "ans2": "Not known",
        "label": 2 if condition == "ambig" else 0,
    }  # fmt: skip
    return {**values, **changes}


def bbq(root, *lines):
    write(root / "Age.jsonl", lines)
    one = Bbq(root=root, **PLAIN)
    one.check()
    return one.load()


@pytest.mark.parametrize("condition", ["ambig", "disambig"])
@pytest.mark.parametrize(("polarity", "stereotyped"), [("neg", 0), ("nonneg", 1)])
def test_bbq_biased_answer_is_the_target_of_a_negative_question_and_the_other_of_another(
    tmp_path, polarity, condition, stereotyped
):
    data = bbq(tmp_path, bbq_line(polarity, condition))
    row = data.rows[0]
    assert row.facts == {"stereotyped": stereotyped, "unknown": 2, "ambiguous": condition == "ambig"}
    assert row.prompt == "Two people.\n\nWho?" and row.options == ("The grandfather", "The grandson", "Not known")
    assert row.label == row.corrected == (2 if condition == "ambig" else 0)
    assert (len(data.train), len(data.validation), data.test.tolist()) == (0, 0, [0]) and data.corrected is None


@pytest.mark.parametrize(("polarity", "stereotyped"), [("neg", 2), ("nonneg", 0)])
def test_bbq_places_of_target_and_unknown_are_read(tmp_path, polarity, stereotyped):
    found = bbq(tmp_path, bbq_line(polarity, marks=("nonOld", "unknown", "old"))).rows[0].facts
    assert (found["stereotyped"], found["unknown"]) == (stereotyped, 1)


def test_bbq_group_named_in_the_first_field_is_found(tmp_path):
    info = {"ans0": ["British", "Europe"], "ans1": ["Japanese", "AsiaPacific"], "ans2": ["Can't answer", "unknown"]}
    changes = {"answer_info": info, "additional_metadata": {"stereotyped_groups": ["British"]}}
    rows = bbq(tmp_path, bbq_line("neg", **changes), bbq_line("nonneg", **changes)).rows
    assert [row.facts["stereotyped"] for row in rows] == [0, 1]


@pytest.mark.parametrize(
    ("groups", "target", "other"),
    [
        (["low SES"], ["truck driver", "lowSES"], ["chief executive", "highSES"]),
        (["F"], ["Donna", "woman"], ["Gary", "man"]),
        (["Black", "African American"], ["Keisha Towns", "F-Black"], ["Donna Schneider", "F-White"]),
        (["transgender women", "transgender men"], ["trans woman", "trans"], ["woman", "nonTrans"]),
    ],
)
def test_bbq_groups_are_found_where_the_authors_metadata_script_finds_them(tmp_path, groups, target, other):
    """Their analysis_scripts/BBQ_results_metadata.R maps these marks to the groups."""
    info = {"ans0": other, "ans1": target, "ans2": ["Unknown", "unknown"]}
    line = bbq_line("neg", answer_info=info, additional_metadata={"stereotyped_groups": groups})
    assert [row.facts["stereotyped"] for row in bbq(tmp_path, line).rows] == [1]


@pytest.mark.parametrize(
    "changes",
    [{"marks": ("old", "old", "unknown")}, {"groups": ("young",)}, {"marks": ("old", "nonOld", "none")}, {"ans1": " "}],
)
def test_bbq_lines_that_name_no_biased_answer_are_left_out(tmp_path, changes):
    data = bbq(tmp_path, bbq_line(**changes), bbq_line(context="The one that stays."))
    assert [row.prompt.split("\n")[0] for row in data.rows] == ["The one that stays."]


def test_bbq_reads_all_categories_in_order(tmp_path):
    write(tmp_path / "Religion.jsonl", [bbq_line(context="second")])
    data = bbq(tmp_path, bbq_line(context="first"))
    assert [row.prompt.split("\n")[0] for row in data.rows] == ["first", "second"]


def test_bbq_mistakes_are_said(tmp_path):
    for root in (None, tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"holds no JSON lines of BBQ's.\nTry: eval.root=FOLDER"):
            Bbq(root=root, **PLAIN).check()
    with pytest.raises(UserError, match="answer that is not among its options"):
        bbq(tmp_path, bbq_line(label=3))


@pytest.mark.parametrize("field", ["additional_metadata", "answer_info", "question_polarity", "label", "ans2"])
def test_bbq_a_line_of_something_else_is_named(tmp_path, field):
    line = bbq_line()
    del line[field]
    with pytest.raises(UserError, match=r"Age.jsonl|line|lacks"):
        bbq(tmp_path, line)


# CrowS-Pairs


def crows(root, **changes):
    return CrowsPairs(**{**PLAIN, "root": root, "hub": "nyu-mll/crows_pairs", "revision": None, **changes})


def crows_csv(root, header=",sent_more,sent_less,stereo_antistereo,bias_type"):
    lines = [
        '0,"The old man, ""slow"", forgot.","The young man, ""slow"", forgot.",stereo,age',
        "1,The poor are ignorant.,The rich are ignorant.,antistereo,socioeconomic",
    ]
    (root / "crows_pairs_anonymized.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return root


def test_crows_pairs_are_rows_without_a_chat_whose_first_option_is_the_more_stereotyped(tmp_path):
    one = crows(crows_csv(tmp_path))
    one.check()
    data = one.load()
    assert [row.options for row in data.rows] == [
        ('The old man, "slow", forgot.', 'The young man, "slow", forgot.'),
        ("The poor are ignorant.", "The rich are ignorant."),
    ]
    assert data.columns["bias_type"].tolist() == ["age", "socioeconomic"]
    assert not data.chat and data.test.tolist() == [0, 1] and not len(data.train) and data.corrected is None


def test_crows_pairs_mistakes_are_said(tmp_path):
    with pytest.raises(UserError, match="file of crows_pairs, nor a folder with one: 0"):
        crows(tmp_path).check()
    with pytest.raises(UserError, match=r"crows_pairs lacks the columns \['sent_less', 'bias_type'\]"):
        crows(crows_csv(tmp_path, ",sent_more,less,stereo_antistereo,kind")).load()


def test_crows_pairs_without_a_sentence_are_refused(tmp_path):
    root = crows_csv(tmp_path)
    with (root / "crows_pairs_anonymized.csv").open("a") as file:
        file.write("2,A sentence.,,stereo,age\n")
    with pytest.raises(UserError, match="empty answer"):
        crows(root).load()


# The real sets, where they are at hand


@pytest.fixture
def real():
    folder = os.environ.get("UNLEARNBENCH_REAL_TEXT")
    if not folder:
        pytest.skip("needs UNLEARNBENCH_REAL_TEXT, a folder with bbq, crows_pairs and tofu")
    return Path(folder)


def test_real_bbq_is_read_whole_and_balanced(real):
    one = Bbq(root=real / "bbq", **PLAIN)
    one.check()
    data = one.load()
    lines = [row for file in sorted((real / "bbq").glob("*.jsonl")) for row in json_lines(file)]
    assert len(data.rows) == len(lines) > 800
    ambiguous, unknown = data.columns["ambiguous"], data.columns["unknown"]
    assert ambiguous.mean() == 0.5
    assert np.array_equal(data.labels[: len(lines)] == unknown, ambiguous)
    assert (data.columns["stereotyped"] != unknown).all()
    right = (data.columns["stereotyped"] == data.labels[: len(lines)])[~ambiguous]
    assert 0.45 < right.mean() < 0.55


def test_real_crows_pairs_are_read_whole(real):
    one = crows(real / "crows_pairs")
    one.check()
    data = one.load()
    assert len(data.rows) == one.info().test == 1508
    kinds = Counter(data.columns["bias_type"].tolist())
    assert len(kinds) == 9 and kinds["race-color"] == 516
    assert all(row.options[0] != row.options[1] for row in data.rows)


def test_real_tofu_is_read_whole_and_every_row_has_its_own_wrong_answers(real):
    data = loaded(real / "tofu")
    info = data.info
    assert (len(data.train), len(data.test)) == (info.train, info.test) == (4000, 217)
    part, known = data.columns["part"], data.columns["has_options"]
    assert Counter(part[data.train].tolist()) == {"forget10": 3600, "retain10": 400} and known.all()
    files_of = {"forget10": "forget10_perturbed.json", "retain10": "retain_perturbed.json"}
    for name, file in files_of.items():
        wrong = {(row["question"], row["answer"]): row["perturbed_answer"] for row in json_lines(real / "tofu" / file)}
        for place in data.train[part[data.train] == name].tolist():
            row = data.rows[place]
            assert list(row.options[2:]) == (wrong[row.prompt, row.options[0]] + [None] * 5)[:5]
    sizes = [len(Column(column="task_id", value=str(n), fraction=1.0, seed=0).split(data).forget) for n in range(1, 10)]
    assert sum(sizes) == 3600 and min(sizes) > 0


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


def test_tofu_runs_to_the_end_with_its_metrics_though_no_test_question_belongs_to_a_task(tofu, tmp_path):
    words = [
        f"dataset.root={tmp_path}", "dataset=tofu", "method=grad_diff", "model.hidden=16", "model.vocabulary=400",
        "train.epochs=1", f"outputs={tmp_path / 'out'}", "eval.generate=30",
    ]  # fmt: skip
    table = unlearnbench.run(words)
    found = {(row.role, row.split, row.metric) for row in table.itertuples()}
    assert ("unlearned", "test", "gap_model_utility") in found
    assert ("unlearned", "forget", "gap_forget_quality") in found
    assert not [split for _, split, _ in found if split == "test_forget"]
