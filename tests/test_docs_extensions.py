"""The plugins of docs/adding-a-*.md run as they are printed: their files, their YAML, their first command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas
import pytest

DOCS = Path(__file__).parents[1] / "docs"
SMALL = ["dataset.limit=200", "dataset.limit_test=60", "train.epochs=1", "plots=false", "save_model=false"]


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page in a language, "" for commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def written(page: str, folder: Path) -> list[list[str]]:
    """Write a page's first file and its YAML where the page says; return the words of its commands."""
    module = re.findall(r"^`(\w+\.py)`, anywhere", page, re.MULTILINE)[0]
    place = re.findall(r"`(my_configs/\w+/\w+\.yaml)`", page)[0]
    (folder / module).write_text(blocks(page, "python")[0])
    (folder / place).parent.mkdir(parents=True)
    (folder / place).write_text(blocks(page, "yaml")[0])
    lines = "".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("unlearnbench run")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a-model", "a-data-set", "a-forget-set", "an-evaluation"])
def test_the_plugin_of_a_page_runs(kind, command, tmp_path, monkeypatch):
    page = (DOCS / f"adding-{kind}.md").read_text()
    commands = written(page, tmp_path)
    if kind == "a-data-set":
        monkeypatch.chdir(tmp_path)
        exec(compile(blocks(page, "python")[1], page, "exec"), {})
    done = command(*commands[0], *SMALL)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    rows = pandas.read_csv(run / "metrics.csv")
    assert set(rows["role"]) >= {"original", "retrained", "unlearned"}
    if kind == "an-evaluation":
        agreed = rows[rows["metric"] == "agreement"]
        assert agreed["value"].between(0, 1).all() and set(agreed["role"]) == {"original", "retrained", "unlearned"}


@pytest.mark.slow
def test_the_further_examples_of_evaluations_run(command, tmp_path):
    found = blocks((DOCS / "adding-an-evaluation.md").read_text(), "python")
    (tmp_path / "again.py").write_text(found[1])
    (tmp_path / "spread.py").write_text(found[2])
    (tmp_path / "my_configs" / "eval").mkdir(parents=True)
    (tmp_path / "my_configs" / "eval" / "again.yaml").write_text("# @package eval.again\n_target_: again.Again\n")
    sources = ["--config-dir", "my_configs", "--plugin", "again.py", "--plugin", "spread.py"]
    words = ["eval=[standard,again]", "dataset=digits", "model=tiny_cnn", "method=none", *SMALL]
    done = command("run", *sources, *words)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert {"agreement_again", "spread", "gap_spread"} <= set(pandas.read_csv(run / "metrics.csv")["metric"])
