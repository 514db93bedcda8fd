"""One bad run ends no report: it is left out with its reason, and odd names are shown as they are."""

from __future__ import annotations

import csv
import json
import logging
import os
import re

import numpy as np
import pandas
import pytest

from run_folders import make_run
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report import write

GOOD, BAD = "aaaaaaa1", "bbbbbbb2"
ENTRY = {"role": "unlearned", "split": "test", "metric": "accuracy", "value": 0.644, "source": "Table IV"}


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Let caplog hear the package's log, which the command line keeps to itself in a process that ran it."""
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)


def result(run, **changes):
    """Change a result.json, which is sound but for that: its sums fit."""
    values = {**json.loads((run / "result.json").read_text()), **changes}
    (run / "result.json").write_text(json.dumps(values))
    sums.write(run)


def without(run, *names):
    values = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({name: value for name, value in values.items() if name not in names}))
    sums.write(run)


def raw(run, text, name="result.json"):
    (run / name).write_bytes(text)
    sums.write(run)


def text_of(run):
    return (run / "metrics.csv").read_text()


def metrics(run, old, new):
    assert old in text_of(run)
    raw(run, text_of(run).replace(old, new).encode(), "metrics.csv")


def many_rows(run):
    names = text_of(run).splitlines()[1].rsplit(",", 4)[0]
    rows = "".join(f"{names},unlearned,test,m{number},0.5\n" for number in range(10**6))
    raw(run, (text_of(run) + rows).encode(), "metrics.csv")


WRONG = {
    "cost_ratio": ["x", [], "0.1", True, {}],
    "versions": [None, [], {"torch": 2}, {"torch": None}, "2"],
    "seed": [2**63, 10**30, -1, 1.5, "0", None, True],
    "status": ["finished", None, 1, ["done"]],
    "run_id": ["bbbbbbb", "../../x2", "BBBBBBB2", 5, "bbbbbbb2\n"],
    "method": [None, 5, ["distill"], "x" * 20_000, "distil"],
    "forget": [{}, 3],
    "seconds": [None, [1.0], {"unlearned": "1"}, {"unlearned": None}, {"unlearned": -1.0}],
    "peak_mib": [5, {"unlearned": []}],
    "reported": [5, {"a": 1}, [5], [[ENTRY]], None],
    "overrides": ["seed=0", [5], None],
    "weights_changed": ["yes", None, 1],
    "premise": [True, {"holds": True}, {"holds": 1, "about": "a", "degenerate": False, "text": ""}],
    "command": [5, ["run"]],
    "device": [5, None],
    "threads": ["2", 0, 10**12],
    "setting": [5, None],
    "reason": [None, 5],
    "precision": [32],
}
TEXTS = {
    "a list": b"[]", "null": b"null", "nothing": b"", "cut": b'{"run_id": "bbb', "nested": b"[" * 100_000,
    "a nested value": b'{"curves": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no UTF-8": b'{"run_id": "\xff"}',
    "NUL": b"\x00" * 50, "half a letter": b'{"run_id": "\\ud800"}', "a number": b"1" * 5000,
}  # fmt: skip
CASES = {
    **{
        f"{name}={str(value)[:20]!r}": lambda run, name=name, value=value: result(run, **{name: value})
        for name, values in WRONG.items()
        for value in values
    },
    **{f"no {name}": lambda run, name=name: without(run, name) for name in ("run_id", "seed", "versions", "forget")},
    **{f"result.json is {name}": lambda run, text=text: raw(run, text) for name, text in TEXTS.items()},
    "cost_ratio NaN": lambda run: result(run, cost_ratio=float("nan")),
    "cost_ratio Infinity": lambda run: result(run, cost_ratio=float("inf")),
    "seconds huge": lambda run: raw(run, (run / "result.json").read_bytes().replace(b"1.5", b"1e999")),
    "an accuracy of 3": lambda run: metrics(run, "unlearned,test,accuracy,0.8", "unlearned,test,accuracy,3"),
    "an infinite accuracy": lambda run: metrics(run, "unlearned,test,accuracy,0.8", "unlearned,test,accuracy,inf"),
    "rows of another run": lambda run: metrics(run, f"{BAD},", f"{GOOD},"),
    "one row of another run": lambda run: metrics(run, "distill,0,1,original,test", "distil,0,original,test"),
    "rows of another seed": lambda run: metrics(run, "distill,0,", "distill,1,"),
    "a row twice": lambda run: raw(run, (text_of(run) + text_of(run).splitlines()[-1] + "\n").encode(), "metrics.csv"),
    "a seed of 30 digits": lambda run: metrics(run, "distill,0,", "distill,1" + "0" * 30 + ","),
    "no value": lambda run: metrics(run, ",0.25", ",x"),
    "one cell more": lambda run: metrics(run, "0.25", "0.25,5"),
    "an open quote": lambda run: metrics(run, "js_to_retrained", '"js'),
    "metrics of no UTF-8": lambda run: raw(run, text_of(run).encode() + b"\xff\xfe\n", "metrics.csv"),
    "metrics of NUL": lambda run: raw(run, b"\x00" * 100, "metrics.csv"),
    "a million rows": many_rows,
    "a folder result.json": lambda run: ((run / "result.json").unlink(), (run / "result.json").mkdir()),
    "no result.json": lambda run: (run / "result.json").unlink(),
    "a pipe result.json": lambda run: ((run / "result.json").unlink(), os.mkfifo(run / "result.json")),
    "another folder's name": lambda run: run.rename(run.with_name("distill_m_d_ccccccc3")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_run_is_left_out_with_its_reason(tmp_path, caplog, case):
    make_run(tmp_path, GOOD)
    bad = make_run(tmp_path, BAD)
    CASES[case](bad)
    target = write([tmp_path], tmp_path / "report")
    assert list(pandas.read_csv(target / "runs.csv")["run_id"]) == [GOOD]
    (record,) = caplog.records
    assert "is damaged and left out: " in record.getMessage() and "\n" not in record.getMessage()
    assert len(record.getMessage()) < 1000


def test_values_without_bounds_are_shown(tmp_path, caplog):
    run = make_run(tmp_path, GOOD)
    metrics(run, "js_to_retrained,0.25", "js_to_retrained,inf")
    metrics(run, "unlearned,forget,gap_accuracy,0.3", "unlearned,forget,gap_accuracy,-1e308")
    metrics(run, "original,forget,accuracy,1.0", "original,forget,accuracy,nan")
    other = make_run(tmp_path, "aaaaaaa2", seed=1)
    metrics(other, "js_to_retrained,0.25", "js_to_retrained,-inf")
    write([tmp_path], tmp_path / "report")
    assert not caplog.records


ODD = [
    r"$\frac{$", "$x", r"\$a$", "$", "<script>alert(1)", "[link](http:x)", "a|b", "`x`", "=cmd", "-x", "@x", "'", '"',
    "{{ x }}", "{% raw %}", "_hidden", "x" * 200, "%s %d", "\N{PILE OF POO}",
    "\x00", "a\x1b[31mb", "\N{RIGHT-TO-LEFT OVERRIDE}x",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_is_shown_as_it_is(tmp_path, name):
    """In the table, the page, and every CSV: as a method where a folder can be called so."""
    names = {"experiment": name, "forget": f"class:{name}", "reported": [{**ENTRY, "source": name}]}
    make_run(tmp_path, GOOD, name if len(name) < 99 and "\x00" not in name else "distill", **names)
    make_run(tmp_path, BAD, status="failed", reason=f"{name}\n# {name}", **names)
    target = write([tmp_path], tmp_path / "report")
    assert (target / "report.html").read_text().count("<script") == 1  # its own
    board = (target / "leaderboard.md").read_text()
    assert "<script" not in board and not re.search(r"(?<!\\)\[|(?<!\\)`", board) and "\x1b" not in board
    assert len({line.count("|") - line.count(r"\|") for line in board.split("\n\n")[1].splitlines()}) == 1
    for file in target.glob("*.csv"):
        for row in csv.reader(file.open(newline="")):
            assert not any(cell[:1] in "=@" for cell in row if cell), row
            assert all(float(cell) is not None for cell in row if cell[:1] in "+-" and cell)


def a_jobs_file(tmp_path, text):
    run = make_run(tmp_path, GOOD)
    sweep = tmp_path / "sweeps" / "one"
    sweep.mkdir(parents=True)
    (sweep / "jobs.csv").write_bytes(text.replace(b"RUN", str(run).encode()))
    return sweep


HEAD = b"job,overrides,experiment,dataset,forget,model,method,seed,status,run_folder,reason\n"
LINE = b"0,,,d,class,m,distill,0,done,RUN,\n"
JOBS = {
    "foreign columns": b"a,b\n1,2\n",
    "no status": b"job,run_folder\n0,RUN\n",
    "no UTF-8": HEAD + LINE + b"\xff\n",
    "NUL": b"\x00" * 100,
    "nothing": b"",
    "done without a run": HEAD + b"1,,,d,class,m,distill,0,done,,\n",
    "a seed of other digits": HEAD + b"1,,,d,class,m,distill,\xc2\xb2,skipped,,\n",
    "a seed of 5000 digits": HEAD + b"1,,,d,class,m,distill," + b"1" * 5000 + b",skipped,,\n",
    "a seed of 64 bits": HEAD + b"1,,,d,class,m,distill,9223372036854775808,skipped,,\n",
    "a folder of 5000 letters": HEAD + b"1,,,d,class,m,distill,0,done," + b"x" * 5000 + b",\n",
    "a folder with NUL": HEAD + b"1,,,d,class,m,distill,0,done,a\x00b,\n",
    "a folder that is none": HEAD + b"1,,,d,class,m,distill,0,done,/dev/null,\n",
    "a folder elsewhere": HEAD + b"1,,,d,class,m,distill,0,done,/etc,\n",
    "a field of a million letters": HEAD + b"1," + b"x" * 10**6 + b",,d,class,m,distill,0,done,RUN,\n",
    "an open quote": HEAD + b'1,"\n',
    "too few cells": HEAD + b"1\n",
    "too many cells": HEAD + b"1,,,d,class,m,distill,0,skipped,,x,y,z\n",
}


@pytest.mark.parametrize("case", JOBS)
def test_a_bad_jobs_file_ends_no_report(tmp_path, caplog, case):
    sweep = a_jobs_file(tmp_path, JOBS[case])
    good = tmp_path / "runs" / f"distill_m_d_{GOOD}"
    target = write([sweep, good], tmp_path / "report")
    table = pandas.read_csv(target / "runs.csv", keep_default_na=False)
    assert GOOD in set(table["run_id"])
    if case != "too many cells":
        assert "damaged and left out" in caplog.text


def test_a_sweep_beside_a_bad_row_is_joined(tmp_path, caplog):
    sweep = a_jobs_file(tmp_path, HEAD + LINE + b"1,,,d,class,m,masking,0,skipped,,=1+1\n2,,,,,,,,lost,,\n")
    target = write([sweep], tmp_path / "report")
    rows = list(csv.DictReader((target / "runs.csv").open(newline="")))
    assert [(row["run_id"], row["status"], row["reason"]) for row in rows] == [
        (GOOD, "done", ""),
        ("", "skipped", "'=1+1"),
    ]
    assert "jobs.csv" in caplog.text and "row 3: status" in caplog.text


def test_two_folders_of_one_run_with_other_numbers_are_told(tmp_path, caplog):
    make_run(tmp_path / "one", GOOD)
    metrics(make_run(tmp_path / "two", GOOD), "unlearned,test,accuracy,0.8", "unlearned,test,accuracy,0.9")
    target = write([tmp_path], tmp_path / "report")
    assert len(pandas.read_csv(target / "runs.csv")) == 1
    assert "is the same run with other numbers" in caplog.text


def test_links_in_a_circle_end(tmp_path):
    run = make_run(tmp_path, GOOD)
    (tmp_path / "runs" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (run / "plots").mkdir()
    (run / "plots" / "up").symlink_to(tmp_path)
    assert len(pandas.read_csv(write([tmp_path], tmp_path / "report") / "runs.csv")) == 1
    with pytest.raises(UserError, match="does not exist"):
        write([tmp_path / "loop"], tmp_path / "report")


@pytest.mark.parametrize("name", ["scores", "result.json", "metrics.csv", "runs"])
def test_what_may_not_be_read_is_left_out(tmp_path, caplog, monkeypatch, name):
    """As root there is nothing that may not be read: the system's refusal is made up."""
    make_run(tmp_path, GOOD)
    make_run(tmp_path / "secret", BAD)
    refused = (
        tmp_path / "secret" / "runs" / f"distill_m_d_{BAD}" / name if name != "runs" else tmp_path / "secret" / name
    )
    real = {"scandir": os.scandir, "open": open}

    def guarded(kind):
        def call(place, *words, **more):
            if str(place).startswith(str(refused)):
                raise PermissionError(13, "Permission denied", str(place))
            return real[kind](place, *words, **more)

        return call

    monkeypatch.setattr(os, "scandir", guarded("scandir"))
    monkeypatch.setattr("io.open", guarded("open"))
    assert list(pandas.read_csv(write([tmp_path], tmp_path / "report") / "runs.csv")["run_id"]) == [GOOD]
    assert "secret" in caplog.text


def test_a_folder_whose_name_is_no_text_is_joined(tmp_path):
    place = tmp_path / os.fsdecode(b"a\xff\x1b")
    make_run(place, GOOD)
    make_run(place, BAD, status="failed", reason="no")
    assert b"a?" in (write([place], tmp_path / "report") / "runs.csv").read_bytes()


SCORES = {
    "rows that differ": {"logits": np.zeros((6, 3)), "label": np.zeros(4, int), "index": np.arange(6)},
    "no columns": {"logits": np.zeros(6), "label": np.zeros(6, int), "index": np.arange(6)},
    "no rows": {"logits": np.zeros((0, 3)), "label": np.zeros(0, int), "index": np.zeros(0, int)},
    "text": {"logits": np.full((6, 3), "x"), "label": np.zeros(6, int), "index": np.arange(6)},
    "labels beyond": {"logits": np.zeros((6, 3)), "label": np.full(6, 9), "index": np.arange(6)},
    "labels of another kind": {"logits": np.zeros((6, 3)), "label": np.full(6, 0.5), "index": np.arange(6)},
    "no numbers": {"logits": np.full((6, 3), np.nan), "label": np.zeros(6, int), "index": np.arange(6)},
    "other clusters": {"logits": np.zeros((6, 3)), "label": np.zeros(6, int), "index": np.arange(6), "cluster": [0]},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("case", SCORES)
def test_scores_of_another_shape_are_left_out(tmp_path, case):
    entries = [{**ENTRY, "split": "forget", "metric": name} for name in ("accuracy", "js_to_retrained", "f1_macro")]
    for seed in range(2):
        run = make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, reported=entries)
        np.savez(run / "scores" / "unlearned_forget.npz", **SCORES[case])
        if seed:
            np.savez(run / "scores" / "retrained_forget.npz", **SCORES[case])
        sums.write(run)
    for folders in ([tmp_path], [tmp_path / "runs" / "distill_m_d_aaaaaaa1"]):
        write(folders, tmp_path / "report")
