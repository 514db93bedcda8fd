"""A full disk, a quota, a read-only or closed folder: one line, exit 1, and the same command goes on from there."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnbench.errors import Stopped, UserError
from unlearnbench.files import disk, leftovers, publish
from unlearnbench.graph import cache
from unlearnbench.results import folder, model, result, rows, scores
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages import resume
from worlds import HERE, TINY

pytestmark = pytest.mark.slow

WORDS = [*TINY, "train.epochs=1", "save_model=true"]
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
SMALL = """
import json, os, shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from warm import command, get_ready

def mount(*words):
    return subprocess.run(["mount", *words, "outputs"]).returncode

def tried(size):
    mount("-o", f"remount,size={{size}}k")
    child = os.fork()
    if child == 0:
        os._exit(command({words!r}, {folder!r}, dict(os.environ), ["/dev/null", f"out_{{size}}", f"err_{{size}}"]))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, Path(f"err_{{size}}").read_text(), list(map(str, Path("outputs").rglob(".part-*")))

if mount("-t", "tmpfs", "-o", "size=16k", "none"):
    sys.exit(77)
get_ready()
found = [tried(size) for size in (16, 330, 540, 8192)]
for file in Path("outputs", "runs").glob("*/metrics.csv"):
    shutil.copy(file, ".")
print(json.dumps(found))
"""


def test_a_disk_that_fills_up_costs_one_line_each_time(tmp_path, command):
    """On a real small file system, which grows from try to try."""
    (tmp_path / "outputs").mkdir()
    words = ["run", *WORDS, "plots=true"]
    script = SMALL.format(tests=str(Path(__file__).parents[1]), words=words, folder=str(tmp_path))
    try:
        tried = subprocess.run(
            [*NAMESPACE, sys.executable, "-c", script], cwd=tmp_path, env=HERE, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("unshare is not installed: no file system of its own")
    if tried.returncode == 77 or "unshare:" in tried.stderr:
        pytest.skip("no file system of its own without privileges here")
    assert tried.returncode == 0, tried.stderr
    found = json.loads(tried.stdout)
    assert [code for code, _, _ in found] == [1, 1, 1, 0], found
    assert not any(left for _, _, left in found[:3])
    for _, said, _ in found[:3]:
        lines = said.splitlines()
        usual = ("...", "forgetting class:class0", "the seconds of this run.")
        assert [line for line in lines if not line.endswith(usual) and "is busy" not in line] == [
            "unlearnbench: no space left on device in outputs; finished work is kept, run the same command again to "
            "continue"
        ]
    assert command("run", *WORDS, "outputs=whole").returncode == 0
    (whole,) = (tmp_path / "whole" / "runs").iterdir()
    assert (whole / "metrics.csv").read_bytes() == (tmp_path / "metrics.csv").read_bytes()


@pytest.mark.parametrize(("words", "limit"), [([], 100), ([], 20_000), (["-m", "seed=0,1"], 2000)])
def test_files_that_may_not_grow_are_a_full_disk(tmp_path, words, limit):
    done = subprocess.run(
        [sys.executable, "-m", "unlearnbench", "run", *WORDS, *words], cwd=tmp_path, env=HERE,
        capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("unlearnbench: file too large") == 1 and "again to continue" in done.stderr
    assert "Traceback" not in done.stderr and "Logging error" not in done.stderr
    assert not list(tmp_path.rglob(".part-*"))


PLACES = [
    (cache, "write_artefact"), (folder, "write_config"), (rows, "write_metrics"), (scores, "write_scores"),
    (model, "write_model"), (result, "write_result"), (publish, "instead"), (folder, "new_folder"),
]  # fmt: skip
CODES = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES]
EACH = [(*PLACES[0], code) for code in CODES] + [(*place, errno.ENOSPC) for place in PLACES[1:]]
"""Every code at one place, and every place with one code: what a code means does not depend on the place."""


@pytest.mark.parametrize(
    ("module", "name", "code"), EACH, ids=[f"{name}-{errno.errorcode[code]}" for _, name, code in EACH]
)
def test_every_place_that_writes_stops_in_one_line_and_goes_on(tmp_path, monkeypatch, module, name, code):
    request = prepare([*WORDS, "method=none", f"outputs={tmp_path}"])

    def refuse(*_given):
        raise OSError(code, os.strerror(code), str(tmp_path / "runs" / "file"))

    with monkeypatch.context() as patched:
        patched.setattr(module, name, refuse)
        with pytest.raises(Stopped, match=r"^[^\n]+; finished work is kept, run the same command again to continue$"):
            execute(request)
    assert not list(tmp_path.rglob(".part-*")) and not list(tmp_path.glob("runs/*"))
    assert execute(request).status == "done"


def test_a_log_that_cannot_be_written_stops_the_run_without_a_traceback(tmp_path, monkeypatch, capfd):
    import logging

    request = prepare([*WORDS, "method=none", f"outputs={tmp_path}"])
    emit = logging.StreamHandler.flush

    def full(self):
        if isinstance(self, logging.FileHandler):
            raise OSError(errno.ENOSPC, "No space left on device")
        emit(self)

    monkeypatch.setattr(logging.getLogger("unlearnbench"), "handlers", [])  # those of other tests' closed terminals
    monkeypatch.setattr(logging.StreamHandler, "flush", full)
    with pytest.raises(Stopped, match="no space left"):
        execute(request)
    assert "Traceback" not in capfd.readouterr().err


def test_the_state_of_a_training_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    kept = tmp_path / "state"
    kept.mkdir()

    def full(folder, _artefact):
        folder.mkdir()
        (folder / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(resume, "write_artefact", full)
    with pytest.raises(OSError), leftovers.part(tmp_path) as fresh:
        resume.write_artefact(fresh, None)
    assert list(tmp_path.iterdir()) == [kept]


def test_what_is_shown_may_not_fit_either(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "unlearnbench", "list", "methods"], stdout=full, stderr=subprocess.PIPE,
            text=True, env=HERE, cwd=tmp_path, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "unlearnbench: no space left on device: the output cannot be written\n"


class FromRust(Exception):
    """As safetensors raises it."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "x"), "no space left on device in outputs;"),
        (OSError(errno.EDQUOT, "x", "/elsewhere/file"), "the disk quota is used up in /elsewhere;"),
        (PermissionError(errno.EACCES, "x", "outputs/runs/a"), "permission denied in outputs;"),
        (FromRust("I/O error: No space left on device (os error 28)"), "no space left on device in outputs;"),
    ],
)
def test_the_line_names_the_reason_and_the_folder(error, says, tmp_path):
    assert disk.why(error, Path("outputs")).startswith(says)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "x", "/data/images"), OSError(errno.EROFS, "x"), FileNotFoundError("x"),
        UserError("config.json cannot be read (os error 28)"), ValueError("x"), OSError(errno.EIO, "x"),
    ],
)  # fmt: skip
def test_other_errors_are_no_full_disk(error):
    assert disk.why(error, Path("outputs")) is None


def test_a_library_that_fails_while_it_closes_its_file_hides_nothing():
    try:
        try:
            raise OSError(errno.ENOSPC, "x")
        finally:
            raise ValueError("cannot close")
    except ValueError as error:
        assert disk.why(error, Path("outputs"))
