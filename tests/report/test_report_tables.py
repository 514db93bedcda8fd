"""The report: what is joined, averaged, ranked and escaped."""

from __future__ import annotations

import csv
import logging
import math
import subprocess
import sys
import time

import pandas
import pytest

from run_folders import make_run
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report import write
from unlearnbench.report.summary import interval
from unlearnbench.results.rows import COLUMNS
from worlds import HERE


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Let caplog hear the package's log, which the command line keeps to itself in a process that ran it."""
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)


@pytest.mark.plots
def test_report_writes_every_file_and_needs_nothing_else(tmp_path):
    make_run(tmp_path, "aaaaaaa1")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "retain_forget_7.svg").write_text("of an older report")
    target = write([tmp_path], tmp_path / "report")
    figures = {
        f"{name}.{end}" for name in ("retain_forget", "cost_gap", "accuracy_by_method") for end in ("png", "svg", "pdf")
    }
    tables = {"results.csv", "runs.csv", "summary.csv", "leaderboard.md", "report.html"}
    assert {file.name for file in target.iterdir()} == tables | figures
    page = (target / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and all(name in page for name in figures)
    assert "http://" not in page and "https://" not in page
    assert (target / "retain_forget.png").read_bytes().startswith(b"\x89PNG")


def test_interval_is_student_t():
    mean, low, high, count = interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)  # t(.975, 2 degrees) times sd 1 over sqrt 3
    assert (mean, count) == (2.0, 3)
    assert low == pytest.approx(2 - half) and high == pytest.approx(2 + half)
    assert interval([1.0])[0] == 1.0 and math.isnan(interval([1.0])[1]) and interval([1.0])[3] == 1
    assert interval([math.nan, 5.0])[0] == 5.0
    assert interval([])[3] == 0


def test_summary_averages_over_seeds_and_counts_a_reference_once_a_seed(tmp_path):
    for seed in range(3):
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, accuracy={"retain": 0.9, "forget": 0.1 * seed, "test": 0.8})
        make_run(tmp_path, f"bbbbbbb{seed}", "finetune", seed=seed)
    summary = pandas.read_csv(write([tmp_path], tmp_path / "report") / "summary.csv", keep_default_na=False)
    forget = summary.query("variant == 'distill' and split == 'forget' and metric == 'accuracy'").iloc[0]
    assert float(forget["mean"]) == pytest.approx(0.1) and int(forget["seeds"]) == 3
    retrained = summary.query("role == 'retrained' and split == 'test' and metric == 'accuracy'")
    assert len(retrained) == 1
    assert float(retrained.iloc[0]["mean"]) == pytest.approx(0.86) and int(retrained.iloc[0]["seeds"]) == 3


def test_one_seed_has_no_interval(tmp_path):
    make_run(tmp_path, "aaaaaaa1")
    target = write([tmp_path], tmp_path / "report")
    with (target / "summary.csv").open() as file:
        assert {(row["ci_low"], row["ci_high"], row["seeds"]) for row in csv.DictReader(file)} == {("", "", "1")}


def test_the_page_has_each_runs_figures_up_to_a_dozen_runs(tmp_path):
    for number in range(13):
        plots = make_run(tmp_path, f"aaaaaa{number:02}", f"m{number:02}") / "plots"
        plots.mkdir()
        (plots / "confusion.png").write_bytes(b"png")
        sums.write(plots.parent)
    runs = sorted((tmp_path / "runs").iterdir())
    for shown, count in ((runs[:12], 12), (runs, 0)):
        page = (write(shown, tmp_path / "report") / "report.html").read_text()
        assert page.count('alt="confusion of m') == count
        assert all(run.name in page for run in shown)


def test_leaderboard_ranks_by_mean_gap_with_references_first(tmp_path):
    make_run(tmp_path, "aaaaaaa1", "far")
    make_run(tmp_path, "aaaaaaa2", "near", accuracy={"retain": 0.95, "forget": 0.01, "test": 0.85})
    text = (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    order = [text.index(f"| {name} |") for name in ("retrained", "original", "near", "far")]
    assert order == sorted(order)
    assert "Noise floor unknown" in text


def test_noise_floor_comes_from_the_references_of_other_seeds(tmp_path):
    for seed in range(2):
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed)
    target = write([tmp_path], tmp_path / "report")
    assert "differ by 0.0100" in (target / "leaderboard.md").read_text()
    assert "js_to_retrained" in (target / "report.html").read_text().partition("Noise floor</h2>")[2]


def test_configurations_of_a_method_are_lines_of_their_own_though_their_seeds_differ(tmp_path):
    for seed, epochs in ((0, 1), (1, 9)):
        words = ["method=distill", "train.epochs=2", f"method.epochs={epochs}", f"seed={seed}"]
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, method_setting=f"3e780d0{epochs}", overrides=words)
    text = (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    assert "| distill (method.epochs=1) |" in text and "| distill (method.epochs=9) |" in text
    assert text.count("## ") == 1


def test_recipes_have_boards_of_their_own_with_their_own_references_and_noise(tmp_path):
    """Retrained accuracies of seeds 0 and 1 are .01 apart; seeds 2 and 5 of the other recipe .03."""
    for number, (seed, epochs) in enumerate(((0, 1), (1, 1), (2, 12), (5, 12))):
        words = ["method=distill", f"train.epochs={epochs}", f"seed={seed}", "save_model=false"]
        make_run(tmp_path, f"aaaaaaa{number}", seed=seed, setting=f"5e7712{epochs:02}", overrides=words)
    target = write([tmp_path], tmp_path / "report")
    short, long = (target / "leaderboard.md").read_text().split("## ")[1:]
    assert short.startswith("m on d, forgetting class:a (train.epochs=1)\n")
    assert long.startswith("m on d, forgetting class:a (train.epochs=12)\n")
    assert "| retrained | 0.9550 (0.8915, 1.0000)" in short and "differ by 0.0100" in short
    assert "| retrained | 0.9850 (0.7944, 1.0000)" in long and "differ by 0.0300" in long
    assert list(pandas.read_csv(target / "results.csv").columns) == list(COLUMNS)
    summary = pandas.read_csv(target / "summary.csv").query("role == 'retrained' and split == 'test'")
    assert dict(zip(summary["setting"], summary["mean"].round(6), strict=True)) == {
        "train.epochs=1": 0.855, "train.epochs=12": 0.885,
    }  # fmt: skip


def test_one_setting_needs_no_name_in_the_title(tmp_path):
    make_run(tmp_path, "aaaaaaa1", overrides=["train.epochs=3"])
    assert "## m on d, forgetting class:a\n" in (write([tmp_path], tmp_path / "r") / "leaderboard.md").read_text()


def test_a_run_found_twice_counts_once(tmp_path):
    make_run(tmp_path / "one", "aaaaaaa1")
    make_run(tmp_path / "two", "aaaaaaa1")
    target = write([tmp_path / "one", tmp_path / "two"], tmp_path / "report")
    assert len(pandas.read_csv(target / "runs.csv")) == 1


def test_unfinished_runs_are_rows_with_their_reason(tmp_path):
    make_run(tmp_path, "aaaaaaa1")
    make_run(tmp_path, "aaaaaaa2", "fisher", status="diverged", reason="step 7")
    target = write([tmp_path], tmp_path / "report")
    runs = pandas.read_csv(target / "runs.csv").set_index("run_id")
    assert runs.loc["aaaaaaa2", "status"] == "diverged"
    assert "step 7" in (target / "report.html").read_text()


def test_only_unfinished_runs_still_make_a_report(tmp_path):
    make_run(tmp_path, "aaaaaaa2", status="failed", reason="no")
    assert "No finished run" in (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()


def test_values_are_escaped(tmp_path):
    make_run(tmp_path, "aaaaaaa1", "<script>alert(1)", forget="class:</td>")
    page = (write([tmp_path], tmp_path / "report") / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "class:&lt;/td&gt;" in page


def test_a_sweep_folder_leads_to_its_runs(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1")
    make_run(tmp_path, "aaaaaaa2", "other")
    sweep = tmp_path / "sweeps" / "one"
    sweep.mkdir(parents=True)
    (sweep / "jobs.csv").write_text(f"job,overrides,status,run_folder\n0,,done,{run}\n")
    target = write([sweep], tmp_path / "report")
    assert list(pandas.read_csv(target / "runs.csv")["run_id"]) == ["aaaaaaa1"]


def test_jobs_that_left_no_run_are_rows_with_their_reason(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1")
    columns = "job,overrides,experiment,dataset,forget,model,method,seed,status,run_folder,reason"
    jobs = [f"0,,,d,class,m,distill,0,done,{run},"]
    jobs += [f"{seed},,,d,class,m,masking,{seed},skipped,,it needs images" for seed in (1, 2)]
    (tmp_path / "jobs.csv").write_text("\n".join([columns, *jobs]))
    target = write([tmp_path], tmp_path / "report")
    runs = pandas.read_csv(target / "runs.csv", keep_default_na=False)
    assert runs[["method", "seed", "status", "reason"]].values.tolist() == [
        ["distill", 0, "done", ""], *(["masking", seed, "skipped", "it needs images"] for seed in (1, 2)),
    ]  # fmt: skip
    page = (target / "report.html").read_text()
    assert "2 skipped" in page and page.partition("Runs without a result")[2].count("it needs images") == 2
    assert "masking" not in (target / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(("result.json", text) for text in ("", "[]", "5", "{}", '{"run_id": "aaaaaaa2", "status": "done"}')),
        *(("metrics.csv", text) for text in ("", "run_id\n", "a,b\n1,2\n", None)),
    ],
)
def test_a_damaged_run_is_left_out_by_name_and_stops_no_report(tmp_path, caplog, file, content):
    make_run(tmp_path, "aaaaaaa1")
    damaged = make_run(tmp_path, "aaaaaaa2", "finetune")
    (damaged / file).unlink() if content is None else (damaged / file).write_text(content)
    target = write([tmp_path, tmp_path / "runs"], tmp_path / "report")
    assert list(pandas.read_csv(target / "runs.csv")["run_id"]) == ["aaaaaaa1"]
    (record,) = caplog.records
    assert str(damaged) in record.getMessage()


def test_damaged_scores_leave_the_rest_of_the_noise_floor(tmp_path, caplog):
    runs = [make_run(tmp_path, f"aaaaaaa{seed}", seed=seed) for seed in range(2)]
    (runs[1] / "scores" / "retrained_forget.npz").write_bytes(b"PK")
    sums.write(runs[1])
    assert "differ by 0.0100" in (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    assert str(runs[1]) in caplog.text


@pytest.mark.slow
def test_a_report_is_made_without_torch(tmp_path):
    for seed in range(2):
        make_run(tmp_path / "outputs", f"aaaaaaa{seed}", seed=seed)
    program = (
        "import sys; from unlearnbench.cli import dispatch; sys.exit(dispatch(['report']) or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False, env=HERE)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_no_runs_is_said_with_a_remedy(tmp_path, folder):
    with pytest.raises(UserError, match="Try: unlearnbench"):
        write([tmp_path / folder], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_runs_without_references_have_a_board_of_their_own_and_no_sentence_stands_twice(tmp_path):
    seen = "model.checkpoint is taken to have been trained on all 9 rows"
    make_run(tmp_path, "aaaaaaa1", references=1, checkpoint={"text": f"{seen}. The retrained model is worse"})
    make_run(tmp_path, "aaaaaaa2", references=1, seed=1, checkpoint={"text": seen})
    make_run(tmp_path, "bbbbbbb1", "finetune", references=0, checkpoint={"text": seen})
    board = (write([tmp_path], tmp_path / "report") / "leaderboard.md").read_text()
    ranked, alone = board.split("(without references)")
    assert "distill" in ranked and "distill" not in alone and "finetune" in alone and "finetune" not in ranked
    assert ranked.count(seen) == alone.count(seen) == 1 and "The retrained model is worse." in ranked


def test_a_board_says_how_many_rows_there_are_and_what_to_know_first(tmp_path):
    for seed, remarks in enumerate((["PREMISE FAILS: <b>", "few"], ["few"])):
        rows = {"retain": 1200, "forget": 12 + seed, "test": 50}
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, rows=rows, remarks=remarks)
    target = write([tmp_path], tmp_path / "report")
    for name, escaped in (("leaderboard.md", "&lt;b>"), ("report.html", "&lt;b&gt;")):
        page = (target / name).read_text()
        assert "Rows: retain 1,200, forget 12 or 13, test 50." in page
        assert f"Seed 0: PREMISE FAILS: {escaped}." in page and page.count("few.") == 1


@pytest.mark.slow
@pytest.mark.plots
def test_a_thousand_runs_are_a_page_of_ten_megabytes_within_a_minute(tmp_path):
    """50 methods, 4 forget sets, 5 seeds: the processor's seconds, since other tests may run beside this one."""
    for number in range(1000):
        method, forget, seed = f"method_{number // 20:02}", f"class:{'abcd'[number % 4]}", number // 4 % 5
        accuracy = {"retain": 0.9 - number / 4000, "forget": number / 4000, "test": 0.8}
        make_run(tmp_path, f"{number:08x}", method, seed, forget=forget, accuracy=accuracy, margin={"accuracy": 0.01})
    started = time.process_time()
    target = write([tmp_path], tmp_path / "report")
    seconds, megabytes = time.process_time() - started, (target / "report.html").stat().st_size / 1e6
    print(f"1,000 runs: {seconds:.1f} s, {megabytes:.1f} MB")
    assert seconds < 60 and megabytes < 10
    page = (target / "report.html").read_text()
    assert page.count('<th scope="row">method_') >= 1000 and page.count('alt="50 methods') == 8
