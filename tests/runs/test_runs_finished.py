"""The index of finished runs: what is damaged is not known, and the run is made again from the cache."""

from __future__ import annotations

import json
import shutil

import pytest

from unlearnbench.runs.finished import find, is_finished
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder with one finished run."""
    folder = tmp_path_factory.mktemp("outputs")
    execute(request(folder))
    return folder


@pytest.fixture
def copy(outputs, tmp_path):
    """A copy of it that a test may damage."""
    return shutil.copytree(outputs, tmp_path / "outputs")


def request(outputs):
    return prepare([f"outputs={outputs}", *TINY, "method=none"])


def run_folder(outputs):
    return next((outputs / "runs").iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"folder": 5}', '{"folder": "none_such"}'])
def test_a_damaged_entry_counts_as_none_and_is_written_again(copy, content):
    entry = next((copy / "cache" / "runs").iterdir())
    entry.write_text(content)
    assert find(request(copy)) is None
    assert execute(request(copy)).reused  # the folder itself was found
    expected = {"key": entry.stem, "folder": run_folder(copy).name, "outside": {}}
    assert json.loads(entry.read_text()) == expected


@pytest.mark.parametrize("content", ["", "[]", '"done"', "{}"])
def test_a_run_with_a_damaged_result_is_made_again(copy, content):
    (run_folder(copy) / "result.json").write_text(content)
    assert not execute(request(copy)).reused
    assert find(request(copy)) == run_folder(copy)


@pytest.mark.parametrize("damage", ["empty metrics", "no metrics", "empty scores", "no scores"])
def test_a_done_run_needs_metrics_and_scores(copy, damage):
    folder = run_folder(copy)
    assert is_finished(folder, request(copy))
    how, what = damage.split()
    if what == "metrics":
        (folder / "metrics.csv").unlink()
    else:
        shutil.rmtree(folder / "scores")
    if how == "empty":
        (folder / "metrics.csv").touch() if what == "metrics" else (folder / "scores").mkdir()
    assert not is_finished(folder, request(copy))
