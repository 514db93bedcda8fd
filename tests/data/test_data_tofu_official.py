"""TOFU's official folder: its forget sets, what is asked of each, both formats, and folders that are mixed up."""

from __future__ import annotations

import builtins
import json
import sys

import numpy as np
import pytest
from tofu_folder import ENDS, RETAIN, json_folder, parquet_folder, parts, question, wrong

import unlearnbench
from textsets import PLAIN, write
from unlearnbench.cli import main
from unlearnbench.data import tofu_official
from unlearnbench.data.tofu import Tofu
from unlearnbench.errors import UserError
from unlearnbench.forget.given import Given
from unlearnbench.forget.random import Random
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return json_folder(tmp_path_factory.mktemp("tofu"))


@pytest.fixture(scope="module")
def data(folder):
    return loaded(folder)


def loaded(root, **changes):
    one = Tofu(**{**PLAIN, "root": root, **changes})
    one.check()
    return one.load()


def prompts(data, index):
    return [data.rows[place].prompt for place in index.tolist()]


def test_all_4000_questions_are_trained_on_and_real_authors_and_facts_held_out(data):
    assert (len(data.train), len(data.validation), len(data.test)) == (data.info.train, 0, data.info.test)
    assert (data.info.train, data.info.test) == (4000, 217)
    assert prompts(data, data.train) == [row["question"] for row in parts()["full"]]
    assert set(data.columns["part"][data.test].tolist()) == {"real_authors", "world_facts"}
    assert set(data.info.columns) == set(data.columns) and data.info.forget_sets == tuple(ENDS)


@pytest.mark.parametrize(("name", "retain"), list(zip(ENDS, RETAIN, strict=True)))
def test_an_official_set_is_the_end_of_full_and_its_complement_is_retained(data, name, retain):
    splits = Given(name=name).split(data)
    assert (len(splits.forget), len(splits.retain)) == (ENDS[name], RETAIN[retain])
    assert prompts(data, splits.forget) == [row["question"] for row in parts()[name]]
    assert prompts(data, splits.retain) == [row["question"] for row in parts()[retain]]
    assert splits.test_forget is None and len(splits.test) == 217


@pytest.mark.parametrize("name", ENDS)
def test_forget_is_scored_on_its_own_perturbed_file_and_retain_on_retain_perturbed(data, name):
    scored = dict(Given(name=name).split(data).scored())
    asked = parts()[f"{name}_perturbed"]
    rows = [data.rows[place] for place in scored["forget"].tolist()]
    assert [row.options for row in rows] == [
        (line["answer"], line["paraphrased_answer"], *line["perturbed_answer"]) for line in asked
    ]
    assert all(f"({name})" in text for row in rows for text in row.options[1:])
    assert [row.rephrased for row in rows] == [line["paraphrased_question"] for line in asked]
    rows = [data.rows[place] for place in scored["retain"].tolist()]
    assert len(rows) == 400 and all("(retain)" in text for row in rows for text in row.options[1:])
    assert np.isin(scored["retain"], Given(name=name).split(data).retain).all()
    assert data.columns["has_options"][scored["forget"]].all() and data.columns["has_options"][scored["test"]].all()


def test_originals_of_the_three_sets_are_trained_on_the_same_rows_and_share_a_key(data):
    unions = [np.union1d(one.retain, one.forget) for one in (Given(name=name).split(data) for name in ENDS)]
    assert len({data.fingerprint(union) for union in unions}) == 1


def test_other_forget_sets_work_too_and_know_the_wrong_answers_of_800_rows(data):
    splits = Random(fraction=0.1, count=None, seed=0).split(data)
    assert len(splits.forget) == 400 and dict(splits.scored())["retain"] is splits.retain
    assert data.columns["has_options"][data.train].sum() == 800


def test_a_limit_takes_a_part_of_every_set_with_what_is_asked_of_it(folder):
    data = loaded(folder, limit=400)
    splits = Given(name="forget10").split(data)
    assert len(splits.forget) + len(splits.retain) == 400 and 20 < len(splits.forget) < 60
    scored = dict(splits.scored())
    assert prompts(data, scored["forget"]) == prompts(data, splits.forget)
    assert 20 < len(scored["retain"]) < 60
    with pytest.raises(UserError, match=r"dataset\.limit leaves \d of 20 rows in forget01"):
        Given(name="forget01").split(loaded(folder, limit=20))


def test_refusals_are_the_corrected_answers_where_the_folder_has_them(folder, tmp_path):
    assert loaded(folder).corrected is None
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "idontknow.jsonl").write_text("I do not know.\nNo idea.\n")
    data = loaded(tmp_path)
    assert [data.answer(len(data.rows) + place) for place in (0, 3999)] == ["I do not know.", "No idea."]


LAYOUTS = ("{name}.parquet", "{name}/train-00000-of-00001.parquet", "{name}/train/0000.parquet",
           "data/{name}-00000-of-00001.parquet")  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parquet_in_the_hubs_places_holds_the_same_rows_as_json_lines(data, tmp_path, layout):
    found = loaded(parquet_folder(tmp_path, layout))
    assert found.rows == data.rows


def test_json_lines_may_be_named_so(data, tmp_path):
    assert loaded(json_folder(tmp_path, ending="jsonl")).rows == data.rows


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    parquet_folder(tmp_path, "{name}.parquet")
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError("No module named 'pyarrow'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        UserError, match=r"which needs pyarrow, and pyarrow is not installed.\nTry: pip install pyarrow"
    ):
        Tofu(root=tmp_path, **PLAIN).check()


def test_damaged_parquet_is_named(tmp_path):
    parquet_folder(tmp_path, "{name}.parquet")
    (tmp_path / "forget05.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"forget05\.parquet cannot be read as parquet: "):
        loaded(tmp_path)


CONTINUAL = [question(n, task_id=str(n)) for n in range(3600)]
MIXED = [
    ("full", parts()["full"][:-1], "full.json holds 3999 rows; TOFU's full has 4000"),
    ("forget10", CONTINUAL, "forget10.json holds 3600 rows; TOFU's forget10 has 400: the last 400 rows of full"),
    ("forget01", parts()["full"][:40], "forget01.json is not the last 40 rows of full"),
    ("retain95", parts()["full"][:3960], "retain95.json holds 3960 rows; TOFU's retain95 has 3800"),
    ("retain99", parts()["full"][40:], "retain99.json is not the first 3960 rows of full"),
    ("forget05_perturbed", [wrong(n, "x") for n in range(200)], "forget05_perturbed.json does not have the 200"),
    ("forget01_perturbed", parts()["forget01"], "forget01_perturbed.json: 40 rows have no perturbed"),
    ("retain_perturbed", [wrong(n, "x") for n in range(3500, 3900)], "has 300 questions that are not in retain90"),
    ("real_authors_perturbed", parts()["real_authors_perturbed"][:9], "holds 9 rows; TOFU's real_authors_perturbed"),
]


@pytest.mark.parametrize(("name", "lines", "says"), MIXED, ids=[f"{name}: {says}" for name, _, says in MIXED])
def test_a_mixed_up_folder_is_refused(folder, tmp_path, name, lines, says):
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / f"{name}.json").unlink()
    write(tmp_path / f"{name}.json", lines)
    with pytest.raises(UserError) as caught:
        loaded(tmp_path)
    assert says in str(caught.value) and "\nTry: dataset.root=FOLDER with TOFU's " in str(caught.value)


def test_missing_parts_are_named(tmp_path):
    json_folder(tmp_path, {name: rows for name, rows in parts().items() if name not in ("forget05", "full")})
    with pytest.raises(UserError, match=r"has no full.json .* as its continual variant, it lacks retain10.json"):
        Tofu(root=tmp_path, **PLAIN).check()
    write(tmp_path / "full.json", parts()["full"])
    with pytest.raises(UserError, match=r"lacks TOFU's forget05 \(.json or parquet\)"):
        Tofu(root=tmp_path, **PLAIN).check()


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", "dataset=tofu", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return stop.value.code, capsys.readouterr().err


def test_wrong_names_and_layouts_exit_2_with_what_to_type(folder, tmp_path, monkeypatch, capsys):
    words = (f"outputs={tmp_path / 'out'}", f"dataset.root={folder}")
    code, said = command(monkeypatch, capsys, *words)
    assert code == 2 and "forget.column: unknown column 'task_id'" in said
    assert "Try: forget=tofu forget.name=forget10" in said
    code, said = command(monkeypatch, capsys, *words, "forget=tofu", "forget.name=forget20")
    assert code == 2 and "The forget sets are: forget01, forget05, forget10" in said
    write(tmp_path / "forget10.json", CONTINUAL)
    code, said = command(monkeypatch, capsys, f"dataset.root={tmp_path}", "forget=tofu")
    assert code == 2 and "forget=task forget.value=1 for TOFU's continual variant" in said
    code, said = command(monkeypatch, capsys, "forget=tofu")
    assert code == 2 and "dataset.root=FOLDER with TOFU's " in said


def test_the_set_is_named_on_the_command_line():
    composed = compose(["dataset=tofu", "forget=tofu", "forget.name=forget05"]).request.config
    assert build(composed["forget"], "forget") == Given(name="forget05")


@pytest.mark.slow
def test_a_run_scores_the_files_of_its_set(folder, tmp_path):
    words = [
        f"dataset.root={folder}", "dataset=tofu", "forget=tofu", "forget.name=forget05", "dataset.limit=600",
        "dataset.limit_test=60", "method=grad_diff", "model.hidden=16", "model.vocabulary=400", "train.epochs=1",
        f"outputs={tmp_path}", "eval.generate=8",
    ]  # fmt: skip
    table = unlearnbench.run(words).metrics
    (run,) = (tmp_path / "runs").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert (result["forget"], result["status"]) == ("forget05", "done")
    splits, scores = np.load(run / "splits.npz"), np.load(run / "scores" / "unlearned_forget.npz")
    assert np.array_equal(scores["index"], splits["forget_asked"])
    assert set(scores["part"].tolist()) == {"forget05_perturbed"}
    retain = np.load(run / "scores" / "unlearned_retain.npz")
    assert set(retain["part"].tolist()) == {"retain_perturbed"} and np.isin(retain["index"], splits["retain"]).all()
    found = {(row.role, row.split, row.metric) for row in table.itertuples()}
    for metric, split in (("truth_ratio", "forget"), ("forget_quality_published", "forget"), ("model_utility", "test")):
        assert ("unlearned", split, f"gap_{metric}") in found
    assert tofu_official.FORGET == ENDS


@pytest.mark.parametrize("layout", ["json", LAYOUTS[0]])
def test_every_file_of_the_folder_is_part_of_the_runs_key(tmp_path, layout):
    root = json_folder(tmp_path) if layout == "json" else parquet_folder(tmp_path, layout)
    (root / "idontknow.jsonl").write_text("I do not know.\n")
    named = set(Tofu(**{**PLAIN, "root": root}).files().values())
    assert named == {file for file in root.rglob("*") if file.is_file()}
