"""Published numbers beside measured ones: intervals over seeds or examples, the mark, and where nothing is said."""

from __future__ import annotations

import csv
import logging
import math

import numpy as np
import pytest

from run_folders import make_run
from unlearnbench.files import sums
from unlearnbench.report import write
from unlearnbench.report.reported import COLUMNS

ENTRY = {"role": "unlearned", "split": "test", "metric": "accuracy", "value": 0.644, "source": "Table IV"}


def published(tmp_path):
    """Write the report; return its rows of reported.csv, and leaderboard.md."""
    target = write([tmp_path], tmp_path / "report")
    with (target / "reported.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == COLUMNS
        return list(reader), (target / "leaderboard.md").read_text()


def save_scores(run, name, right, wrong=0, **extras):
    """Store a role's scores on a split: so many right, then so many wrong, certain of one of three classes."""
    logits = np.full((right + wrong, 3), -50.0, dtype=np.float32)
    logits[:right, 0], logits[right:, 1] = 50.0, 50.0
    rows = np.arange(right + wrong)
    np.savez(run / "scores" / f"{name}.npz", logits=logits, label=np.zeros_like(rows), index=rows, **extras)
    sums.write(run)


def test_several_seeds_have_the_interval_of_student_t(tmp_path):
    entries = [ENTRY, {**ENTRY, "value": 0.7, "source": "notebook"}, {**ENTRY, "role": "retrained", "value": 0.86}]
    for seed, accuracy in enumerate((0.62, 0.64, 0.66)):
        split = {"retain": 0.9, "forget": 0.3, "test": accuracy}
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, accuracy=split, reported=entries)
    rows, text = published(tmp_path)
    half = 4.302652729911275 * 0.02 / math.sqrt(3)  # t(.975, 2 degrees) times the standard error
    assert [row["source"] for row in rows] == ["Table IV", "notebook", "Table IV"]
    assert [row["differs"] for row in rows] == ["False", "True", "False"]
    assert [row["interval"] for row in rows] == ["seeds"] * 3 and {row["seeds"] for row in rows} == {"3"}
    assert float(rows[0]["measured"]) == pytest.approx(0.64)
    assert float(rows[0]["ci_low"]) == pytest.approx(0.64 - half)
    assert float(rows[0]["ci_high"]) == pytest.approx(0.64 + half)
    assert float(rows[1]["difference"]) == pytest.approx(-0.06)
    assert "| distill | test | accuracy | Table IV | 0.6440 | 0.6400 | 0.5903 to 0.6897 | 3 seeds |" in text
    assert "| 3 seeds | -0.0040 | within |" in text and "| 3 seeds | -0.0600 | differs |" in text
    assert "| retrained | test | accuracy | Table IV | 0.8600 | 0.8600 |" in text


def test_one_seed_has_the_interval_of_its_examples(tmp_path):
    """50 of 100 are right: the quantiles of the binomial distribution are .4 and .6."""
    entries = [{**ENTRY, "value": 0.57}, ENTRY]
    run = make_run(tmp_path, "aaaaaaa1", accuracy={"retain": 0.9, "forget": 0.3, "test": 0.5}, reported=entries)
    save_scores(run, "unlearned_test", 50, 50)
    (within, outside), text = published(tmp_path)
    assert (within["interval"], within["seeds"], within["differs"]) == ("examples", "1", "False")
    assert float(within["ci_low"]) == pytest.approx(0.4, abs=0.02)
    assert float(within["ci_high"]) == pytest.approx(0.6, abs=0.02)
    assert outside["differs"] == "True"
    assert "100 examples of one seed | -0.0700 | within |" in text


def test_rows_of_a_template_count_together(tmp_path):
    """100 rows of 10 templates, of which 5 are all right: 5 of 10 templates, by hand as in the bootstrap's tests."""
    run = make_run(tmp_path, "aaaaaaa1", accuracy={"retain": 0.9, "forget": 0.3, "test": 0.5}, reported=[ENTRY])
    save_scores(run, "unlearned_test", 50, 50, cluster=np.arange(100) // 10)
    (row,), text = published(tmp_path)
    assert (float(row["ci_low"]), float(row["ci_high"])) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert row["differs"] == "False" and "100 examples in 10 clusters, one seed | -0.1440 | within |" in text


def test_the_mean_of_two_retrained_models_has_an_interval(tmp_path):
    entry = {**ENTRY, "role": "retrained", "value": 0.03}
    run = make_run(tmp_path, "aaaaaaa1", reported=[entry])
    for number in range(2):
        save_scores(run, f"retrained_{number}_test", 0, 20)
    (row,), _ = published(tmp_path)
    assert (row["interval"], float(row["ci_low"])) == ("examples", 0.0)
    assert float(row["ci_high"]) == pytest.approx(0.161, abs=0.001)  # Wilson's of 0 among 20
    assert row["differs"] == "False"


def test_a_metric_without_a_published_value_is_shown_alone(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1", reported=[{**ENTRY, "value": None}])
    save_scores(run, "unlearned_test", 80, 20)
    (row,), text = published(tmp_path)
    assert (row["reported"], row["difference"], row["differs"]) == ("", "", "")
    assert "| Table IV |  | 0.8000 | 0.7112 to 0.8666 | 100 examples of one seed |  | no number |" in text


@pytest.mark.parametrize(
    ("experiment", "says"), [("table_cpu", "compare directions"), ("table_smoke", "only shows that"), ("table", "")]
)
def test_a_smaller_preset_says_that_it_is_not_the_published_setting(tmp_path, experiment, says):
    make_run(tmp_path, "aaaaaaa1", experiment=experiment, reported=[ENTRY])
    _, text = published(tmp_path)
    assert ("is not the published setting, which is table " in text) == bool(says)
    assert says in text and says in (tmp_path / "report" / "report.html").read_text()


def test_without_an_interval_nothing_is_marked(tmp_path):
    make_run(tmp_path, "aaaaaaa1", reported=[ENTRY, {**ENTRY, "split": "forget", "metric": "zrf"}])
    (first, second), text = published(tmp_path)
    assert (first["ci_low"], first["interval"], first["differs"]) == ("", "", "")
    assert "| 0.6440 | 0.8000 |  |  | +0.1560 | no interval |" in text
    assert (second["measured"], second["difference"], second["seeds"]) == ("", "", "0")
    assert "| zrf | Table IV | 0.6440 |  |  |  |  | not measured |" in text


def test_damaged_scores_and_entries_are_left_out_by_name(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)
    run = make_run(tmp_path, "aaaaaaa1", reported=[ENTRY, {"role": "unlearned"}])
    (run / "scores" / "unlearned_test.npz").write_bytes(b"PK")
    sums.write(run)
    (row,), _ = published(tmp_path)
    assert row["interval"] == ""
    messages = {record.getMessage() for record in caplog.records}
    assert [str(run) in message for message in messages] == [True, True]


def test_a_distance_is_taken_to_the_runs_own_references(tmp_path):
    """Half of the examples agree with retrained (0 bits), half are apart as far as can be (1 bit)."""
    entry = {**ENTRY, "split": "forget", "metric": "js_to_retrained", "value": 0.0486}
    run = make_run(tmp_path, "aaaaaaa1", reported=[entry])
    save_scores(run, "unlearned_forget", 50, 50)
    for number in range(2):
        save_scores(run, f"retrained_{number}_forget", 100)
        save_scores(run, f"retrained_{number}_test_forget", 7)
    (run / "scores" / "retrained_forget.npz").unlink()
    sums.write(run)
    (row,), _ = published(tmp_path)
    assert float(row["ci_low"]) == pytest.approx(0.4, abs=0.02)
    assert float(row["ci_high"]) == pytest.approx(0.6, abs=0.02)


def test_methods_have_rows_of_their_own_and_the_original_one(tmp_path):
    original = {**ENTRY, "role": "original", "value": 1.0}
    make_run(tmp_path, "aaaaaaa1", "finetune", reported=[original, {**ENTRY, "method": "finetune"}])
    make_run(tmp_path, "aaaaaaa2", "distill", reported=[original, {**ENTRY, "method": "distill", "value": 0.5}])
    rows, _ = published(tmp_path)
    assert [(row["role"], row["variant"], row["reported"]) for row in rows] == [
        ("original", "", "1.0"), ("unlearned", "distill", "0.5"), ("unlearned", "finetune", "0.644"),
    ]  # fmt: skip


def test_a_board_without_published_numbers_has_no_table(tmp_path):
    make_run(tmp_path, "aaaaaaa1", setting="5e771297", overrides=["train.epochs=1"], reported=[ENTRY])
    make_run(tmp_path, "aaaaaaa2", overrides=["train.epochs=2"])
    rows, text = published(tmp_path)
    assert [row["setting"] for row in rows] == ["train.epochs=1"]
    assert text.count("### Reported and measured") == 1


def test_no_published_numbers_leave_no_table_at_all(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1", reported=[ENTRY])
    published(tmp_path)
    text = (run / "result.json").read_text()
    (run / "result.json").write_text(text.replace('"reported"', '"before"'))
    sums.write(run)
    target = write([tmp_path], tmp_path / "report")
    assert not (target / "reported.csv").exists()
    assert all("Reported" not in (target / name).read_text() for name in ("leaderboard.md", "report.html"))


def test_the_page_shows_the_table_and_escapes_sources(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1", reported=[{**ENTRY, "source": "<b>Table|IV"}])
    save_scores(run, "unlearned_test", 80, 20)
    _, text = published(tmp_path)
    page = (tmp_path / "report" / "report.html").read_text()
    assert '<tr class="differs"><td>distill</td>' in page and "Reported and measured" in page
    assert "&lt;b&gt;Table|IV" in page and "<b>Table" not in page
    assert "&lt;b>Table\\|IV" in text
