"""Code of others: a method and a metric in a file that the command line names."""

from __future__ import annotations

import csv
import json

import pytest

from plugin_files import write_plugin
from unlearnbench.errors import UserError
from unlearnbench.request import plugins
from worlds import TINY

pytestmark = pytest.mark.slow


def test_a_plugin_file_runs_and_is_refused_without_trust(command, tmp_path):
    flags = write_plugin(tmp_path / "theirs")
    assert "Scale the head's weights" in command("list", "methods", *flags).stdout
    assert command("run", *flags[:2], *TINY, "method=shrink").returncode == 2
    done = command("run", *flags, *TINY, "method=shrink")
    assert done.returncode == 0, done.stderr
    assert "shrink on tiny_cnn" in done.stdout
    sweep = command("run", "-m", *flags, *TINY, "method=shrink,none")
    assert sweep.returncode == 0, sweep.stderr


def test_a_method_for_other_data_is_an_error_alone_and_a_row_in_a_sweep(command, tmp_path):
    flags = write_plugin(tmp_path / "theirs", '"text"')
    alone = command("run", *flags, *TINY, "method=shrink")
    assert alone.returncode == 2
    assert "needs text" in alone.stderr
    sweep = command("run", "-m", *flags, *TINY, "method=shrink,none")
    assert sweep.returncode == 0, sweep.stderr
    folder = next((tmp_path / "outputs" / "sweeps").iterdir())
    with (folder / "jobs.csv").open() as file:
        assert [job["status"] for job in csv.DictReader(file)] == ["skipped", "done"]


METRIC = '''
"""A metric of somebody else."""
from unlearnbench.metrics import Number, metric

SPREAD = (
    Number("lowest_loss", "The lowest loss", ideal=0.0),
    Number("highest_loss", "The highest loss", source="there"),
)

@metric("mean_loss_twice", splits=("forget",), unit="nats", low=0.0, high=1e9, source="here")
def mean_loss_twice(evidence, split):
    """Twice the mean loss."""
    return float(2 * evidence.subject[split].loss.mean())

@metric(*SPREAD, splits=("forget", "test"), unit="nats", low=0.0, high=1e9, source="here")
def spread(evidence, split):
    """The ends of the losses."""
    loss = evidence.subject[split].loss
    return {"lowest_loss": float(loss.min()), "highest_loss": float(loss.max())}
'''


def test_a_metric_of_a_plugin_is_computed_though_the_run_was_done_without_it(command, tmp_path):
    (tmp_path / "mine.py").write_text(METRIC)
    words = ["run", *TINY, "method=none"]
    assert command(*words).returncode == 0
    done = command(*words, "--plugin", "mine.py")
    assert done.returncode == 0 and "done before" not in done.stdout
    with (tmp_path / done.stdout.partition("files: ")[2].strip() / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    roles = {"original", "retrained", "unlearned"}
    assert {row["role"] for row in rows if row["metric"] == "mean_loss_twice"} == roles
    for name in ("lowest_loss", "highest_loss"):  # one function returns both
        found = {(row["role"], row["split"]): float(row["value"]) for row in rows if row["metric"] == name}
        assert set(found) == {(role, split) for role in roles for split in ("forget", "test")}
        gaps = {row["split"]: float(row["value"]) for row in rows if row["metric"] == f"gap_{name}"}
        assert gaps == {split: found["unlearned", split] - found["retrained", split] for split in ("forget", "test")}


BROKEN = [
    ("x = 1\ndef broken(:\n", 2, "SyntaxError"),
    ("\n\nraise RuntimeError('not today')\n", 3, "RuntimeError: not today"),
    ("import no_such_module_anywhere\n", 1, "No module named 'no_such_module_anywhere'"),
    ("import sys\nsys.exit(3)\n", 2, "SystemExit"),
]


@pytest.mark.parametrize(("number", "broken"), list(enumerate(BROKEN)))
def test_a_plugin_that_does_not_import_is_named_with_its_line(tmp_path, number, broken):
    text, line, says = broken
    file = tmp_path / f"broken_plugin_{number}.py"
    file.write_text(text)
    plugins.trust_file(file)
    with pytest.raises(UserError, match=f"line {line} does not import: .*{says}") as error:
        plugins.modules()
    assert str(file) in str(error.value)


def test_a_plugin_that_is_gone_is_named(command, tmp_path):
    gone = json.dumps([str(tmp_path / "mine.py")])
    done = command("run", *TINY, "method=none", env={"PYTHONSAFEPATH": "1", plugins.FILES: gone})
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"the plugin {tmp_path / 'mine.py'} is gone.\nTry: put it back" in done.stderr


def test_a_plugin_that_does_not_import_ends_before_anything_runs(command, tmp_path):
    flags = write_plugin(tmp_path / "theirs", "undefined")
    for words in (["method=shrink"], ["-m", "method=none", "seed=0,1"]):
        done = command("run", *flags, *TINY, *words)
        assert done.returncode == 2
        assert f"{tmp_path / 'theirs' / 'shrinking.py'}, line 10 does not import: NameError" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()
