"""docs/methods.md has every method of configs/method, under the family that its class names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from unlearnbench.problem import Family
from unlearnbench.request.config import config_root

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))
METHODS = sorted(file.stem for file in (config_root() / "method").glob("*.yaml") if not file.stem.endswith("_paper"))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_listed_under_its_family(name):
    found = [family for family, text in SECTIONS.items() if f"\n| `{name}` |" in text]
    assert len(found) == 1
    method = get_class(OmegaConf.load(config_root() / "method" / f"{name}.yaml")["_target_"])
    assert found[0].lower() == getattr(method, "family", found[0].lower())


def test_every_family_has_its_section_with_an_equation():
    assert set(get_args(Family)) <= {name.lower() for name in SECTIONS}
    assert all(re.search(r"^    \S", SECTIONS[family.capitalize()], re.MULTILINE) for family in get_args(Family))
