"""Tables by hand and from the hub, JSON lines, and clear words for what is wrong with them."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from types import ModuleType

import numpy as np
import pandas
import pytest

from textsets import PLAIN
from unlearnbench.data import files
from unlearnbench.data.clinical_bias import ClinicalBias
from unlearnbench.data.crows_pairs import CrowsPairs
from unlearnbench.data.files import json_lines
from unlearnbench.errors import UserError

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
def test_statements_on_a_patient_are_a_cluster_and_one_without_is_by_itself(tmp_path, suffix):
    patients = [["a", "b", None][n % 3] for n in range(len(STATEMENTS))]
    data = bias(saved(table(SUBJECT_ID=patients), tmp_path / f"table{suffix}")).load()
    number = {f"{text}\n\nIs this statement biased?": place for place, text in enumerate(STATEMENTS)}
    of = [patients[number[row.prompt]] or number[row.prompt] for row in data.rows]
    assert [of.index(name) for name in of] == data.cluster.tolist()


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
    with pytest.raises(UserError, match=r"row 40 \(from 0\) has no TEXT.\nTry: "):
        bias(file).load()


@pytest.mark.parametrize("suffix", files.SUFFIXES)
@pytest.mark.parametrize("word", ["perhaps", "2", "", None])
def test_an_unreadable_is_biased_is_named_with_its_row(tmp_path, suffix, word):
    marks = ["true", "false", word, *["true"] * 37]
    with pytest.raises(UserError, match=r"row 2 has is_biased=.*expected true or false.\nTry: "):
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
    with pytest.raises(UserError, match=r"lacks the columns \['TEXT'\].*'text'.*\nTry: .*TEXT, is_biased"):
        bias(file).load()


def test_one_table_in_a_folder_is_found_and_several_or_none_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"or a folder with one; found 0.\nTry: dataset.root=FILE"):
        bias(tmp_path).check()
    saved(table(), tmp_path / "one.csv")
    (tmp_path / "README.md").write_text("not a table")
    bias(tmp_path).check()
    assert len(bias(tmp_path).load().rows) == 40
    saved(table(), tmp_path / "two.jsonl")
    for attempt in (bias(tmp_path).check, bias(tmp_path).load):
        with pytest.raises(UserError, match="or a folder with one; found 2"):
            attempt()


def test_a_root_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("not a table")
    with pytest.raises(UserError, match=r"README\.md: expected a .parquet, .csv, .jsonl file of clinical_bias"):
        bias(tmp_path / "README.md").check()
    with pytest.raises(UserError, match=r"nothing\.csv does not exist.\nTry: dataset.root=FILE"):
        bias(tmp_path / "nothing.csv").check()
    for root in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"\nTry: eval\.root=FOLDER") as error:
            CrowsPairs(root=root, hub="nyu-mll/crows_pairs", revision=None, **PLAIN).check()
        assert "dataset.root" not in str(error.value)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_damaged_table_is_refused(tmp_path, suffix):
    file = tmp_path / f"table{suffix}"
    file.write_bytes(b"\x93\xff{")
    with pytest.raises(
        UserError, match=rf"table{suffix}(, line 1| cannot be read as .*: .| lacks the columns).*\nTry: "
    ):
        bias(file).load()
    file.write_bytes(b"")
    with pytest.raises(UserError, match=rf"table{suffix} (cannot be read as .*: .|is empty).*\nTry: dataset.root=FILE"):
        bias(file).load()


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_a_table_without_rows_is_called_empty(tmp_path, suffix):
    file = saved(table().iloc[:0], tmp_path / f"table{suffix}")
    with pytest.raises(UserError, match=r"is empty: it has no rows.\nTry: .* rows of TEXT, is_biased"):
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
    crows = CrowsPairs(root=None, hub="nyu-mll/crows_pairs", revision=None, **PLAIN)
    for one, key in ((bias(), "dataset.root=FILE"), (crows, "eval.root=FOLDER")):
        with pytest.raises(UserError, match=rf"pip install 'unlearnbench\[hub\]', or {key}, ") as error:
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
    with pytest.raises(UserError, match=r"shainahub/clinical_bias cannot be loaded .*\nTry: log in"):
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
