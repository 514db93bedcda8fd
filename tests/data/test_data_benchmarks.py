"""BBQ and CrowS-Pairs by hand, and the real sets where they are at hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from textsets import PLAIN, dataset, write
from unlearnbench.data.bbq import Bbq
from unlearnbench.data.crows_pairs import CrowsPairs
from unlearnbench.data.files import json_lines
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column

# BBQ


def bbq_line(polarity="neg", condition="ambig", marks=("old", "nonOld", "unknown"), groups=("old",), **changes):
    infos = [[name, mark] for name, mark in zip(("grandfather", "grandson", "Not known"), marks, strict=True)]
    values = {
        "question_polarity": polarity, "context_condition": condition, "category": "Age", "question_index": "1",
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


def test_bbq_questions_of_a_template_are_a_cluster(tmp_path):
    lines = [bbq_line(category=name[0], question_index=name[1]) for name in ("A1", "A2", "A1", "B2", "B1")]
    assert bbq(tmp_path, *lines).cluster.tolist() == [0, 1, 0, 3, 4]


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


@pytest.mark.parametrize(
    "changes",
    [{"additional_metadata": {}}, {"additional_metadata": 3}, {"answer_info": {"ans0": ["x", "old"]}}, {"label": "x"}],
)
def test_bbq_lines_of_another_form_inside_are_named(tmp_path, changes):
    with pytest.raises(UserError, match=r"Age\.jsonl, example_id 7: .*\nTry: "):
        bbq(tmp_path, bbq_line(example_id=7, **changes))


def test_bbq_mistakes_are_said(tmp_path):
    for root in (None, tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            UserError, match=r"(eval.root is not set|has no \*.jsonl files of BBQ).\nTry: eval.root=FOLDER"
        ):
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
    with pytest.raises(UserError, match="file of crows_pairs, or a folder with one; found 0"):
        crows(tmp_path).check()
    with pytest.raises(UserError, match=r"lacks the columns \['sent_less', 'bias_type'\]"):
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
    data = dataset("tofu", f"dataset.root={real / 'tofu'}").load()
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
