"""The wheel works elsewhere: another environment, an empty folder, the smoke experiment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_configs_data_and_licences(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "unlearnbench/configs/run.yaml" in names
    assert "unlearnbench/configs/method/distill.yaml" in names
    assert "unlearnbench/data/fashion.npz.xz" in names
    assert "unlearnbench/report/report.html.jinja" in names
    assert sum("licenses/" in name for name in names) == 2


def test_wheel_runs_from_an_empty_folder(wheel, tmp_path):
    place, empty = tmp_path / "env", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    site = next((place / "lib").glob("python*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    python = place / "bin" / "python"
    borrowed = sysconfig.get_path("purelib")
    # A plain sys.path entry: the borrowed folder's own .pth files, the checkout's among them, are not read.
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = subprocess.run(
        [python, "-c", "import unlearnbench; print(unlearnbench.__file__)"],
        cwd=empty, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(site)
    done = subprocess.run(
        [python, "-m", "unlearnbench", "run", "experiment=smoke"],
        cwd=empty, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert next((empty / "outputs" / "runs").glob("distill_tiny_cnn_digits_*/metrics.csv")).exists()
