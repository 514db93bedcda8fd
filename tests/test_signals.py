"""Ctrl-C and SIGTERM at any moment: one line, the codes 130 and 143, no traceback, nothing half-written."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest
from test_cli import heed_interrupts

from worlds import HERE, TINY

pytestmark = pytest.mark.slow

SAYS = {signal.SIGINT: "unlearnbench: interrupted\n", signal.SIGTERM: "unlearnbench: terminated\n"}


def started(tmp_path, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "unlearnbench", "run", *TINY, *words], cwd=tmp_path, env=HERE, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
    )  # fmt: skip


def moments(count, until, seed):
    draw = random.Random(seed)
    return [round(draw.uniform(0.0, until), 3) for _ in range(count)]


@pytest.mark.parametrize("words", [("method=none",), ("-m", "method=none", "seed=0,1")], ids=["run", "sweep"])
@pytest.mark.parametrize("sign", list(SAYS))
@pytest.mark.parametrize("twice", [False, True])
def test_a_signal_at_any_moment_ends_in_one_line(tmp_path, words, sign, twice):
    for number, seconds in enumerate(moments(3, 3.0, f"{words}{sign}{twice}")):
        with started(tmp_path, f"outputs={number}", *words) as process:
            time.sleep(seconds)
            process.send_signal(sign)
            if twice:
                time.sleep(0.03)
                process.send_signal(sign)
            _, said = process.communicate(timeout=60)
        if process.returncode == -sign:  # Python was not up, or was going down
            continue
        if "Traceback" in said and "unlearnbench/" not in said:  # Python itself was starting
            continue
        assert process.returncode in (0, 128 + sign), (seconds, said)
        assert "Traceback" not in said and "ignored" not in said, (seconds, said)
        assert said.count("unlearnbench: ") <= 1
        if process.returncode:
            assert said.endswith(SAYS[sign]), (seconds, said)
        assert not list((tmp_path / str(number)).rglob(".part-*")), (seconds, said)


@pytest.mark.parametrize("sign", list(SAYS))
def test_a_signal_during_a_sweep_leaves_a_row_for_each_job(tmp_path, sign):
    with started(tmp_path, "-m", "train.epochs=100000", "seed=0,1", "hydra.sweep.dir=swept") as process:
        for line in process.stderr:
            if line.startswith("original"):
                break
        time.sleep(0.3)
        process.send_signal(sign)
        said = process.stderr.read()
    assert process.returncode == 128 + sign
    assert said.endswith(SAYS[sign]) and "Traceback" not in said
    rows = (tmp_path / "swept" / "jobs.csv").read_text().splitlines()
    assert len(rows) == 3 and all("interrupted" in row for row in rows[1:])
    assert not list((tmp_path / "outputs").rglob(".part-*"))


def test_what_is_ignored_stays_ignored():
    """As under nohup, or in the background of a shell without job control."""
    script = (
        "import signal; from unlearnbench import signals; signals.install(); print(signal.getsignal(signal.SIGINT))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=HERE, check=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    assert done.stdout.strip() == str(signal.SIG_IGN)


def test_importing_the_package_changes_no_handler():
    script = (
        "import signal, unlearnbench, unlearnbench.cli; "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler; "
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    subprocess.run([sys.executable, "-c", script], env=HERE, check=True, preexec_fn=heed_interrupts)
