"""`unlearnbench.run`: what the command does, as a typed result."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import unlearnbench
from unlearnbench.errors import UserError
from worlds import HERE, TINY


def test_importing_takes_nothing_with_it():
    code = (
        "import sys, unlearnbench; heavy = {'torch', 'hydra', 'pandas', 'numpy', 'omegaconf'};"
        "sys.exit(bool(heavy & sys.modules.keys()) or not {'run', 'unlearn'} <= set(dir(unlearnbench)))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], env=HERE, check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        unlearnbench.nothing  # noqa: B018


def test_a_run_returns_its_folder_metrics_and_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = unlearnbench.run([*TINY, "method=none", "outputs=mine"])
    assert (result.status, result.reason, result.reused, result.runs) == ("done", "", False, ())
    monkeypatch.chdir("/")
    assert result.folder.parent == tmp_path / "mine" / "runs"
    assert {"accuracy", "gap_accuracy"} <= set(result.metrics.metric)
    assert result.metrics is result.metrics
    assert isinstance(result.load(), torch.nn.Module)
    again = unlearnbench.run(f"{' '.join(TINY)} method=none outputs={tmp_path / 'mine'}")
    assert again.reused and again.folder == result.folder


@pytest.mark.slow
def test_a_sweep_returns_its_runs(tmp_path):
    words = [*TINY, f"outputs={tmp_path}", "method=gradient_ascent", "method.optimizer.lr=1e30,1e-4", "-m"]
    result = unlearnbench.run(words)
    assert result.status == "failed" and result.reason.startswith("1 of 2 jobs failed; ")
    assert [one.status for one in result.runs] == ["diverged", "done"]
    assert len(result.metrics) == len(result.runs[1].metrics)
    assert (result.folder / "report" / "report.html").exists()
    with pytest.raises(UserError, match="has no metrics: it is diverged"):
        result.runs[0].metrics  # noqa: B018
    with pytest.raises(UserError, match=r"Try: result.runs\[0\].load"):
        result.load()


def test_plugins_and_folders_are_those_of_the_command(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "quick.py").write_text(
        "from unlearnbench.methods.finetune import Finetune\n\n\nclass Quick(Finetune):\n    pass\n"
    )
    (tmp_path / "method" / "mine.yaml").write_text("_target_: nowhere.Quick\n")
    with pytest.raises(UserError, match=r"--plugin .*nothing.py is not a Python file"):
        unlearnbench.run(TINY, plugins=[tmp_path / "nothing.py"])
    with pytest.raises(UserError, match=r"_target_=nowhere\.Quick is refused"):
        unlearnbench.run([*TINY, "method=mine", f"outputs={tmp_path / 'out'}"], config_dirs=[tmp_path])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["method=distil"], "Did you mean 'distill'"),
        ("seed=0,1", "-m for a sweep"),
        (["--frob"], "unlearnbench run --help"),
        (["--help"], "Try: unlearnbench run --cfg job"),
        (["dataset=clinical_notes", "dataset.limit=40", "method=lora_negation"], "cannot run here"),
    ],
)
def test_mistakes_are_user_errors(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        unlearnbench.run(words)
    assert says in str(error.value)


def test_an_application_of_hydra_keeps_its_own(tmp_path):
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        mine = GlobalHydra.instance().hydra
        with pytest.raises(UserError):
            unlearnbench.run("method=distil")
        assert GlobalHydra.instance().hydra is mine
