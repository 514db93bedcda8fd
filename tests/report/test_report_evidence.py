"""Evidence: what the page and its JSON say of a run, and that they do not say who was forgotten."""

from __future__ import annotations

import json

import pytest

from scored_runs import scored_run
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report import evidence_page, salted
from unlearnbench.report.attacks import EVALUATIONS
from unlearnbench.report.attested import attested
from unlearnbench.report.collect import collect
from unlearnbench.report.evidence_page import section
from unlearnbench.request.config import config_root


def made(tmp_path, run):
    """Write the evidence of a run; return its folder."""
    (tmp_path / "report").mkdir(exist_ok=True)
    evidence_page.write(tmp_path / "report", collect([run]))
    return tmp_path / "report"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def run(outputs):
    return scored_run(outputs, "aaaaaaa1", "finetune", checkpoint={"text": "model.checkpoint <b>saw</b> it"})


@pytest.fixture(scope="module")
def alone(outputs):
    """A run of a method that changes nothing, without retrained models."""
    return scored_run(outputs, "aaaaaaa2", "none", references=0, weights_changed=False)


def ids(tmp_path, *names):
    (tmp_path / "ids.txt").write_text("".join(f"{name}\n" for name in names))
    return tmp_path / "ids.txt"


def test_hashes_are_those_of_the_standard():
    """RFC 4231, test case 2, with its key."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert salted.hashed_one(b"Jefe", "what do ya want for nothing?") == expected


def test_the_owner_can_show_that_ids_are_among_the_forgotten(tmp_path, run):
    report = made(tmp_path, run)
    found = attested(report, ids(tmp_path, 40, 59), report / "evidence.salt", run)
    assert not found.problems
    assert "2 of 2 ids are among the 20 rows to forget" in found.said
    other = attested(report, ids(tmp_path, 40, 39), report / "evidence.salt", None)
    assert len(other.problems) == 1 and "1 of 2 ids are not among the 20 rows" in other.problems[0]


def test_another_salt_shows_nothing(tmp_path, run):
    report = made(tmp_path, run)
    (tmp_path / "salt").write_text("00" * 32 + "\n")
    with pytest.raises(UserError, match="is not the salt of this evidence"):
        attested(report, ids(tmp_path, 40), tmp_path / "salt", None)
    with pytest.raises(UserError, match="is no salt"):
        attested(report, ids(tmp_path, 40), tmp_path / "ids.txt", None)


def test_the_salt_is_kept_and_only_its_owner_reads_it(tmp_path, run):
    report = made(tmp_path, run)
    salt = (report / "evidence.salt").read_text()
    first = json.loads((report / "evidence.json").read_text())["request"]["ids"]
    assert (report / "evidence.salt").stat().st_mode & 0o077 == 0
    made(tmp_path, run)
    assert (report / "evidence.salt").read_text() == salt
    assert json.loads((report / "evidence.json").read_text())["request"]["ids"] == first
    assert salt.strip() not in (report / "evidence.json").read_text() + (report / "evidence.html").read_text()


def test_ids_of_the_data_are_hashed_and_named_nowhere(tmp_path):
    run = scored_run(tmp_path / "outputs", "aaaaaaa1", "finetune", forget="person=anna")
    (run / "forgotten.csv").write_text('request,index,id\n1,40,anna-1\n1,41,"anna, 2"\n')
    (run / "config.yaml").write_text(
        (run / "config.yaml")
        .read_text()
        .replace("random.Random", "column.Column\n  column: person\n  value: anna\n  fraction: 1.0")
    )
    sums.write(run)
    report = made(tmp_path, run)
    found = json.loads((report / "evidence.json").read_text())["request"]
    assert found["ids"]["are"] == "id" and found["rows_to_forget"] == 2
    assert found["in_words"] == "2 rows: all rows with one value of the column person"
    assert not attested(report, ids(tmp_path, "anna-1", "anna, 2"), report / "evidence.salt", None).problems
    page = (report / "evidence.html").read_text()
    assert "anna" not in page + (report / "evidence.json").read_text()


def test_changed_evidence_is_found(tmp_path, run):
    report = made(tmp_path, run)
    text = (report / "evidence.json").read_text()
    (report / "evidence.json").write_text(text.replace('"seed', '"Seed').replace('"started"', '"Started"'))
    assert "was made from another evidence.json" in attested(report, None, None, None).problems[0]
    values = json.loads(text)
    values["request"]["ids"]["list"].pop()
    (report / "evidence.json").write_text(json.dumps(values))
    assert any("list_sha256" in line for line in attested(report, None, None, None).problems)


def test_another_run_is_told(tmp_path, run, alone):
    report = made(tmp_path, run)
    found = attested(report, None, None, alone)
    assert any("metrics.csv is not the file that the evidence is about" in line for line in found.problems)


def test_the_page_says_what_is_unknown_and_what_was_not_done(tmp_path, alone):
    page = (made(tmp_path, alone) / "evidence.html").read_text()
    assert "No model was retrained without the rows." in page and "is unknown" in page
    assert "one seed (0)" in page and "It was not measured whether further training" in page
    assert page.count("<html") == 1 and "http://" not in page and "https://" not in page and "<script" not in page
    assert "No weight of the model was changed" in page and "were not changed" in page


def test_numbers_are_those_of_the_run(tmp_path, run):
    report = made(tmp_path, run)
    found = json.loads((report / "evidence.json").read_text())
    assert found["schema"] == "unlearnbench/evidence/1"
    (accuracy,) = (one for one in found["numbers"] if (one["metric"], one["split"]) == ("accuracy", "forget"))
    rows = (run / "metrics.csv").read_text()
    for role in ("original", "retrained", "unlearned"):
        assert f"{role},forget,accuracy,{accuracy[role]!r}\n" in rows
    assert accuracy["gap"] == pytest.approx(accuracy["unlearned"] - accuracy["retrained"])
    assert found["model"]["sha256"]["unlearned"] == "ab" * 32
    page = (report / "evidence.html").read_text()
    assert "ab" * 32 in page and "&lt;b&gt;saw" in page and "<b>saw" not in page


def test_evidence_is_about_one_finished_run(tmp_path, run, alone):
    with pytest.raises(UserError, match="is about one run, and here are 2"):
        evidence_page.write(tmp_path / "report", collect([run.parent]))
    assert not (tmp_path / "report").exists()


def test_a_report_links_the_page_of_its_run_alone(tmp_path, run, alone):
    report = made(tmp_path, run)
    assert 'href="evidence.html"' in section(collect([run]), report)
    for runs, folder in ((collect([run]), tmp_path), (collect([alone]), report), (collect([run, alone]), report)):
        without = section(runs, folder)
        assert "report RUN --evidence" in without and "ab" * 32 in without and "href" not in without


def test_every_evaluation_says_what_it_cannot_show():
    assert {file.stem for file in (config_root() / "eval").glob("*.yaml")} == set(EVALUATIONS)
