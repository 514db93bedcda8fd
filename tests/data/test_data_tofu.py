"""TOFU from a folder made by hand: tasks, refusals, wrong answers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import unlearnbench
from textsets import PLAIN, write
from unlearnbench.data.tofu import Tofu
from unlearnbench.errors import UserError
from unlearnbench.forget.column import Column
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build

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
    with pytest.raises(UserError, match=r"it lacks retain10.json, idontknow.jsonl.\nTry: dataset.root=FOLDER"):
        Tofu(root=tofu, **PLAIN).check()
    with pytest.raises(UserError, match=r"dataset.root is not set.\nTry: dataset.root=FOLDER"):
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


def test_tofu_runs_to_the_end_with_its_metrics_though_no_test_question_belongs_to_a_task(tofu, tmp_path):
    words = [
        f"dataset.root={tmp_path}", "dataset=tofu", "method=grad_diff", "model.hidden=16", "model.vocabulary=400",
        "train.epochs=1", f"outputs={tmp_path / 'out'}", "eval.generate=30",
    ]  # fmt: skip
    table = unlearnbench.run(words).metrics
    found = {(row.role, row.split, row.metric) for row in table.itertuples()}
    assert ("unlearned", "test", "gap_model_utility") in found
    assert ("unlearned", "forget", "gap_forget_quality") in found
    assert not [split for _, split, _ in found if split == "test_forget"]


def test_the_twenty_questions_on_an_author_are_a_cluster_and_held_out_ones_are_by_themselves(tofu):
    write(tofu / "forget10.json", [asked(n, "forget", task_id="1") for n in range(60)])
    write(tofu / "retain10.json", [asked(n, "retain") for n in range(20)])
    data = loaded(tofu)
    assert data.cluster[data.train].tolist() == [20 * (n // 20) for n in range(80)]
    assert np.array_equal(data.cluster[data.test], data.test)
