"""A sweep that is killed at twenty moments, and one whose claims hold nothing: the same bytes in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worlds import HERE, TINY

pytestmark = pytest.mark.slow

WORDS = ["run", "-m", *TINY, "threads=1", "method=none,finetune,distill", "seed=0,1"]
BEGIN = """
import json, os, random, signal, sys, time
from contextlib import suppress
from pathlib import Path
sys.path.insert(0, {tests!r})
from warm import command, get_ready
get_ready()

def forked(folder, before=lambda: None):
    child = os.fork()
    if child == 0:
        os.setsid()
        os.makedirs(folder, exist_ok=True)
        before()
        os._exit(command({words!r}, folder, dict(os.environ), ["/dev/null", folder + "/out", folder + "/err"]))
    return child

def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
KILLED = """
random.seed(0)
folder, held, moments = {folder!r}, 0, []
claims = Path(folder) / "outputs" / "cache" / "claims"
stages = claims.parent / "stages"

def begun(child):
    for claim in claims.glob("[0-9a-f]*"):
        with suppress(OSError, ValueError):
            if str(json.loads(claim.read_text())["process"]) == str(child):
                return True
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None  # all is done

for number in range(20):
    child = forked(folder)
    deadline = time.monotonic() + 60
    while not begun(child) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.02 * 1.3**number))  # on a fast machine and on a slow one, some come in the middle
    os.killpg(child, signal.SIGKILL)
    code(child)
    held += any(claims.glob("[0-9a-f]*"))
    moments.append(len(os.listdir(stages)) if stages.is_dir() else 0)
print(json.dumps([code(forked(folder)), held, moments]))
"""
NO_CLAIMS = """
def open_to_all():
    from unlearnbench.runners.claims import Claims
    Claims._created = lambda self, path, label: (path.parent.mkdir(parents=True, exist_ok=True), path.touch(), True)[-1]

folder = {folder!r}
children = [forked(folder, open_to_all) for _ in range(3)] + [forked({whole!r})]
print(json.dumps([code(child) for child in children]))
"""


def done(script: str, folder: Path) -> object:
    places = {"folder": str(folder), "whole": str(folder.with_name("whole"))}
    filled = (BEGIN + script).format(tests=str(Path(__file__).parents[1]), words=WORDS, **places)
    env = {**HERE, "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", filled], env=env, capture_output=True, text=True, timeout=400)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def results(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in (folder / "outputs" / "sweeps").glob("*/report/results.csv")]


@pytest.fixture(scope="module")
def unclaimed(tmp_path_factory):
    """The results of three sweeps at once whose claims hold nothing, and of one beside them that nobody disturbs."""
    folder = tmp_path_factory.mktemp("deaths") / "unclaimed"
    assert done(NO_CLAIMS, folder) == [0, 0, 0, 0], (folder / "err").read_text()
    return results(folder), results(folder.with_name("whole"))


def test_a_sweep_killed_at_twenty_moments_ends_with_the_same_bytes(tmp_path, unclaimed):
    code, held, moments = done(KILLED, tmp_path)
    assert code == 0, (tmp_path / "err").read_text()
    assert held >= 3 and len(set(moments)) >= 3, f"the kills came at no different moments: {held} {moments}"
    assert set(results(tmp_path)) == set(unclaimed[1])


def test_where_claims_hold_nothing_three_sweeps_at_once_end_with_the_same_bytes(unclaimed):
    found, whole = unclaimed
    assert len(whole) == 1 and found == whole * 3
