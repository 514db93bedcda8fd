"""What dead processes left goes at the next start; what living ones write, and other hosts', stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unlearnbench.files import leftovers
from worlds import HERE, TINY


def left_by_a_dead_process(folder: Path) -> Path:
    """Have a process make a part in the folder and be killed."""
    script = (
        "import os, sys; from pathlib import Path; from unlearnbench.files import leftovers\n"
        "part = leftovers.named(Path(sys.argv[1])); part.mkdir(parents=True); (part / 'run.log').write_text('x')\n"
        "print(part, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, env=HERE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    part = Path(done.stdout.strip())
    assert part.exists()
    return part


def aged(path: Path, seconds: float) -> Path:
    for one in (*(path.iterdir() if path.is_dir() else ()), path):
        os.utime(one, (time.time() - seconds,) * 2)
    return path


def test_parts_of_the_dead_go_and_of_the_living_stay(tmp_path):
    dead, mine = left_by_a_dead_process(tmp_path), leftovers.named(tmp_path)
    mine.mkdir()
    leftovers.clear(tmp_path)
    assert not dead.exists() and mine.exists()


def test_a_process_that_got_the_number_of_a_dead_one_protects_nothing(tmp_path):
    mine = leftovers.named(tmp_path)
    start, process = mine.name.split("-")[3], str(os.getpid())
    earlier = tmp_path / mine.name.replace(f"-{process}-{start}-", f"-{process}-{int(start) - 1}-")
    earlier.mkdir()
    leftovers.clear(tmp_path)
    assert not earlier.exists()


@pytest.mark.parametrize(("days", "stays"), [(6, True), (8, False)])
def test_another_hosts_part_goes_after_a_week(tmp_path, days, stays):
    other = tmp_path / ".part-00000000-1-1-00000000"
    other.mkdir()
    (other / "run.log").write_text("x")
    aged(other, days * 24 * 3600)
    leftovers.clear(tmp_path)
    assert other.exists() == stays


def test_a_fresh_log_line_keeps_another_hosts_part(tmp_path):
    other = tmp_path / ".part-00000000-1-1-00000000"
    other.mkdir()
    aged(other, 30 * 24 * 3600)
    (other / "run.log").write_text("x")
    os.utime(other, (0, 0))
    leftovers.clear(tmp_path)
    assert other.exists()


@pytest.mark.parametrize("name", ["mine", ".part-mine", ".old-mine", ".part-0-0-0-0", ".parting", "a.part-0"])
def test_what_has_another_name_is_never_removed(tmp_path, name):
    (tmp_path / name).mkdir()
    aged(tmp_path / name, 365 * 24 * 3600)
    leftovers.clear(tmp_path)
    assert (tmp_path / name).exists()


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (tmp_path / "runs").mkdir()
    dead = left_by_a_dead_process(tmp_path)
    link = tmp_path / "runs" / dead.name
    link.symlink_to(tmp_path / "precious")
    leftovers.clear(tmp_path / "runs")
    assert not link.is_symlink() and (tmp_path / "precious" / "file").exists()


def test_a_forked_process_leaves_its_parents_parts_alone(tmp_path):
    mine = leftovers.named(tmp_path)
    mine.mkdir()
    child = multiprocessing.get_context("fork").Process(target=leftovers._remove_own)
    child.start()
    child.join()
    assert mine.exists()


def test_the_states_of_finished_stages_go_and_damaged_ones_after_a_week(tmp_path):
    cache = tmp_path / "cache"
    for name in ("stages/a", "unfinished/a", "unfinished/b", "damaged/new", "damaged/old"):
        (cache / name).mkdir(parents=True)
    aged(cache / "damaged" / "old", 8 * 24 * 3600)
    leftovers.clear_outputs(tmp_path)
    assert not (cache / "unfinished" / "a").exists() and not (cache / "damaged" / "old").exists()
    assert (cache / "unfinished" / "b").exists() and (cache / "damaged" / "new").exists()


@pytest.mark.slow
def test_nothing_is_left_of_a_killed_run_after_the_next(tmp_path):
    """Killed at whatever moment: the next start leaves what a run that nobody killed leaves."""
    words = [sys.executable, "-m", "unlearnbench", "run", *TINY, "method=none", "train.epochs=300"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=HERE) as process:
        for line in process.stderr:
            if line.startswith("original"):
                break
        time.sleep(0.3)
        process.kill()
    outputs = tmp_path / "outputs"
    assert list((outputs / "cache" / "claims").iterdir())
    again = [word.replace("300", "1") for word in words]
    assert subprocess.run(again, cwd=tmp_path, capture_output=True, env=HERE, check=False).returncode == 0
    assert not list(outputs.rglob(".part-*"))
    for name in ("claims", "parts"):
        assert not list((outputs / "cache" / name).iterdir())
