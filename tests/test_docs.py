"""What the documentation shows is run: the method of adding-a-method.md. Its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from worlds import HERE, TINY

ROOT = Path(__file__).parents[1]


def block(page: str, language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)[number]


@pytest.mark.slow
def test_the_method_of_the_page_runs(command, tmp_path):
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    (tmp_path / "my_configs" / "method").mkdir(parents=True)
    (tmp_path / "weight_noise.py").write_text(block(page, "python"))
    (tmp_path / "my_configs" / "method" / "weight_noise.yaml").write_text(block(page, "yaml"))
    words = ["--config-dir", "my_configs", "--plugin", "weight_noise.py", "method=weight_noise"]
    assert " ".join(["unlearnbench", "run", *words]) in page
    done = command("run", *words, "dataset=synthetic", "model=tiny_cnn", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    assert "weight_noise on tiny_cnn" in done.stdout


def test_an_entry_point_is_found_without_flags(warm, tmp_path):
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    package = tmp_path / "site" / "my_package"
    (package / "configs" / "method").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "weight_noise.py").write_text(block(page, "python"))
    yaml = block(page, "yaml").replace("weight_noise.WeightNoise", "my_package.weight_noise.WeightNoise")
    (package / "configs" / "method" / "weight_noise.yaml").write_text(yaml)
    facts = tmp_path / "site" / "my_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    entry = block(page, "toml").splitlines()[1].replace('"', "")
    (facts / "entry_points.txt").write_text(f"[unlearnbench.plugins]\n{entry}\n")
    env = {**HERE, "COLUMNS": "120", "PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}"}
    assert "weight_noise" in warm.run(["list", "methods"], tmp_path, env).stdout
    done = warm.run(["run", *TINY, "method=weight_noise"], tmp_path, env)
    assert done.returncode == 0, done.stderr


def test_links_of_the_readme_and_of_every_page_lead_somewhere():
    """scripts/docs checks anchors too, and the pages that are made from the code."""
    for file in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text()):
            made = {"reference", "report"} & {*Path(target).parts, file.parent.name}
            if "://" not in target and not made:
                assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_every_page_is_in_the_navigation_of_the_site():
    def pages(node):
        for value in node.values() if isinstance(node, dict) else node:
            yield from [value] if isinstance(value, str) else pages(value)

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    known = set(pages(site["nav"]))
    docs = ROOT / "docs"
    there = {str(file.relative_to(docs)) for file in docs.rglob("*.md")}
    assert {one for one in known if not one.startswith("reference/")} <= there
    assert not {one for one in there - known if not one.startswith(("decisions/", "reference/", "gallery/report/"))}
