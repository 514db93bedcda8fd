"""A stranger's Python files in the current folder are not run, and completion registers for the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worlds import HERE, TINY

ROOT = Path(__file__).parents[1]
EVIL = "open('ran', 'a').write(__name__)\n"
NAMES = ("rich", "omegaconf", "hydra", "signal", "torch", "argparse", "pandas", "venv", "pip")


@pytest.fixture
def stranger(tmp_path):
    """A folder with modules of well-known names that leave a mark when they are run."""
    place = tmp_path / "stranger"
    place.mkdir()
    for name in NAMES:
        (place / f"{name}.py").write_text(EVIL)
    return place


@pytest.fixture
def checkout(tmp_path):
    """The scripts of this checkout, with its environment."""
    place = tmp_path / "checkout"
    (place / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(ROOT / "scripts", place / "scripts")
    shutil.copy(ROOT / "requirements.lock", place)
    shutil.copy(ROOT / "requirements.lock", place / ".venv" / ".installed-requirements.lock")
    python = place / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return place


def done(words, folder):
    finished = subprocess.run(words, cwd=folder, env=HERE, capture_output=True, text=True, check=False)
    assert not (folder / "ran").exists(), (folder / "ran").read_text()
    return finished


def test_the_script_runs_nothing_from_the_current_folder(checkout, stranger):
    finished = done([checkout / "scripts" / "unlearnbench", "list", "methods"], stranger)
    assert finished.returncode == 0 and "npo" in finished.stdout, finished.stderr


def test_the_installed_command_runs_nothing_from_the_current_folder(stranger, tmp_path):
    installed = tmp_path / "bin" / "unlearnbench"
    installed.parent.mkdir()
    installed.write_text(f"#!{sys.executable}\nfrom unlearnbench.__main__ import main\n\nmain()\n")
    installed.chmod(0o755)
    finished = done([installed, "list", "methods"], stranger)
    assert finished.returncode == 0 and "npo" in finished.stdout, finished.stderr


def test_the_module_runs_nothing_from_the_current_folder(stranger):
    finished = done([sys.executable, "-m", "unlearnbench", "list", "methods"], stranger)
    assert finished.returncode == 0 and "npo" in finished.stdout, finished.stderr


@pytest.mark.slow
def test_workers_run_nothing_from_the_current_folder(stranger):
    words = [*TINY, "method=none", "runner=local", "runner.workers=1"]
    finished = done([sys.executable, "-m", "unlearnbench", "run", *words], stranger)
    assert finished.returncode == 0, finished.stderr


def bash(script, tmp_path):
    """Run a script in a bash that knows the command `unlearnbench`."""
    command = tmp_path / "bin" / "unlearnbench"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/bash\nexec {sys.executable} -P -m unlearnbench "$@"\n')
    command.chmod(0o755)
    environment = {**HERE, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    words = ["bash", "-c", f'eval "$(unlearnbench -sc install=bash)"\n{script}']
    return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_completion_is_of_the_command_and_not_of_python(tmp_path):
    assert bash("complete -p unlearnbench", tmp_path).stdout.split()[-1] == "unlearnbench"
    assert bash("complete -p python", tmp_path).returncode != 0


def test_bash_completes_a_choice(tmp_path):
    line = "unlearnbench run method=disti"
    script = (
        f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_CWORD=2 COMP_WORDS=({line})\n'
        'hydra_bash_completion\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert bash(script, tmp_path).stdout.split() == ["method=distill", "method=distill_paper"]


def test_fish_registers_no_python(command):
    written = command("-sc", "install=fish").stdout
    registered = [line for line in written.splitlines() if line.startswith("complete ")]
    assert [line.split()[2] for line in registered] == ["unlearnbench"]
