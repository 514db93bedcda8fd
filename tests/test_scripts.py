"""The set-up scripts: clear words for a Python that will not do, locks that are whole and name no index."""

from __future__ import annotations

import importlib
import json
import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-test.lock", "requirements-docs.lock")


@pytest.fixture
def checkout(tmp_path):
    """A checkout without an environment, in a folder with a space in its name."""
    place = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    for lock in LOCKS:
        shutil.copy(ROOT / lock, place)
    return place


def stub(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def run(script: Path, *words: str, tools: Path, **env: str) -> subprocess.CompletedProcess[str]:
    for name in ("bash", "env", "dirname", "cmp", "flock", "rm", "cp", "chmod", "true"):
        if not (tools / name).exists():
            (tools / name).symlink_to(shutil.which(name) or "/bin/true")
    return subprocess.run(
        [script, *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tools), "HOME": os.environ["HOME"], **env},
    )


def test_unsupported_python_gives_one_clear_line(checkout, tmp_path):
    tools = tmp_path / "tools"
    stub(tools, "python3", '[ "$1" = -V ] && echo "Python 3.9.2"; [ "$1" != -c ]')
    done = run(checkout / "scripts" / "unlearnbench", tools=tools)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "3.11, 3.12 or 3.13" in done.stderr and "Python 3.9.2" in done.stderr


@pytest.mark.parametrize("body", [None, "exit 1", "kill -9 $$"])
def test_a_chosen_python_that_does_not_run_is_said_by_name(checkout, tmp_path, body):
    tools = tmp_path / "tools"
    stub(tools, "python3", "echo Python 3.12.1")
    chosen = tmp_path / "my tools" / "python"
    if body:
        stub(chosen.parent, chosen.name, body)
    done = run(checkout / "scripts" / "unlearnbench", tools=tools, PYTHON=str(chosen))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"PYTHON={chosen} is no Python that runs" in done.stderr


def test_missing_venv_gives_one_clear_line(checkout, tmp_path):
    tools = tmp_path / "tools"
    stub(tools, "python3", 'case "$*" in *ensurepip*) exit 1;; -V) echo Python 3.12.1;; esac')
    done = run(checkout / "scripts" / "unlearnbench", tools=tools)
    assert done.returncode == 2
    assert "apt-get install python3-venv" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_arguments_are_handed_on_and_nothing_is_installed_twice(checkout, tmp_path):
    stub(checkout / "tools", "x", "")
    venv = checkout / ".venv" / "bin"
    venv.mkdir(parents=True)
    stub(venv, "python", 'printf "<%s>" "$@"')
    shutil.copy(checkout / "requirements.lock", checkout / ".venv" / ".installed-requirements.lock")
    done = run(checkout / "scripts" / "unlearnbench", "run", "a b", "forget.classes=[0]", tools=checkout / "tools")
    assert done.stdout == "<-P><-m><unlearnbench><run><a b><forget.classes=[0]>"
    assert done.stderr == ""


@pytest.mark.parametrize("name", LOCKS)
def test_locks_are_hashed_and_name_no_index(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"https?:|--index|--extra|--find-links", text)
    pins = re.findall(r"^[a-z0-9][^\s=]*==[^\n]*(?:\n {4}--hash[^\n]*)*", text, re.MULTILINE)
    assert len(pins) > 25
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_test_lock_agrees_with_the_other():
    def pinned(name):
        return set(re.findall(r"^([a-z0-9][^\s]*==[^\s;]*)", (ROOT / name).read_text(), re.MULTILINE))

    assert pinned("requirements.lock") <= pinned("requirements-test.lock")


def test_the_embedded_notes_are_what_their_templates_give_and_their_checks_can_fail(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("build_clinical_notes")
    source = yaml.safe_load(script.SOURCE.read_text(encoding="utf-8"))
    rows = script.built(source)
    script.check(rows, source)
    lines = lzma.decompress(script.TARGET.read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == rows
    rows[0]["answer"] = rows[0]["biased_answer"]
    with pytest.raises(ValueError, match="the biased option is never right"):
        script.check(rows, source)


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("each under one minutes.", "one minutes"), ("It is 1 centimetres wide.", "1 centimetres"),
        ("pain in a upper tooth", "a u"), ("a 18-year-old man", "a 18"), ("a 84-year-old man", "a 8"),
        ("A English-speaking woman", "A E"), ("One brothers came.", "One brothers"),
        ("one minute of one focus, one diagnosis, one mass", None), ("2.1 grams, HbA1 values, twenty-one days", None),
        ("a one-day course at a university, a useful plan, a usual dose", None), ("an 18-year-old, a 19", None),
    ],
)  # fmt: skip
def test_a_plural_behind_one_and_the_wrong_article_are_found_in_notes(monkeypatch, sentence, found):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = importlib.import_module("check_clinical_notes")
    for row in ({"text": sentence, "options": []}, {"text": "", "options": [sentence]}):
        row |= {"id": "cn-1", "template_id": "x", "question": ""}
        if found is None:
            script.check_grammar(row)
        else:
            with pytest.raises(ValueError, match=f"cn-1 .*{found}"):
                script.check_grammar(row)
