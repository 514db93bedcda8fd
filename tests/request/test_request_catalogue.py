"""What `list` says of choices, read from YAML and source without running either."""

from __future__ import annotations

import json
from importlib import import_module
from typing import get_args

import pytest

from unlearnbench.errors import UserError
from unlearnbench.problem import Family
from unlearnbench.request import plugins
from unlearnbench.request.catalogue import entries, families, named, paper_of

PLUGIN = '''
"""Shrinking, arXiv:2401.00001."""
raise RuntimeError("this file must not be run")

class Shrink:
    """Scale the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[Family] = "weight surgery"
    year: ClassVar[int] = 2024
    def __call__(self, model, problem): ...

class Settings:
    """No method."""
'''


@pytest.fixture
def plugin(monkeypatch, tmp_path):
    """A plugin's file, trusted as by --plugin."""
    file = tmp_path / "listed_plugin.py"
    file.write_text(PLUGIN)
    monkeypatch.setattr(plugins, "AT_START", json.dumps([str(file)]))
    return file


def described(topic, *folders):
    return {entry.name: entry for entry in entries(topic, folders)}


def test_choices_of_one_class_are_told_apart_by_their_yaml():
    methods = described("methods")
    assert methods["distill_paper"].about.startswith(f"{methods['distill'].about}. The settings of the authors' code")


def test_a_method_of_a_plugin_is_described_with_and_without_its_yaml(plugin, tmp_path):
    found = described("methods")["listed_plugin.Shrink"]
    assert (found.kind, found.paper) == ("text", "arXiv:2401.00001")
    assert (found.family, found.year) == ("weight surgery", "2024")
    assert found.about.startswith("Scale the head's weights. It has no YAML yet")
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "shrink.yaml").write_text("_target_: listed_plugin.Shrink\n")
    named = described("methods", tmp_path / "mine")
    assert named["shrink"].about == "Scale the head's weights"
    assert not any(name.startswith("listed_plugin") for name in named)


def test_every_method_of_ours_declares_its_family_and_year():
    assert families() == get_args(Family)
    for name, entry in described("methods").items():
        module, _, of = entry.target.rpartition(".")
        method = getattr(import_module(module), of)
        assert entry.family == method.family and entry.family in families(), name
        assert entry.year == (str(method.year) if method.year else ""), name
        assert (method.year == 0) == (method.family in ("baseline", "exact") and not entry.paper), name


def test_a_paper_without_an_arxiv_number_is_named_by_its_first_author_and_year():
    assert paper_of("A method.\n\nRoy: A Title (2025), Table I: a unit is masked.") == "Roy 2025"
    assert paper_of("A method.\n\nKim, Chae: A Long\nTitle, NeurIPS 2025, its link. More.") == "Kim et al. 2025"
    assert paper_of("A method.\n\nRoy: A Title (2025), arXiv:2401.00001.") == "arXiv:2401.00001"
    assert paper_of("A method.\n\nNote: it is of our own making, since 2025.") == ""


def test_only_methods_that_are_in_no_paper_have_none():
    without = {name for name, entry in described("methods").items() if not entry.paper}
    assert without == {"external", "none", "output_mask", "retrain"}


def test_methods_are_listed_by_family_in_80_columns(command):
    lines = [line for line in command("list", "methods", env={"COLUMNS": "80"}).stdout.splitlines() if line.strip()]
    _title, header, *rows = lines
    assert header.split() == ["name", "kinds", "family", "year", "paper"]
    listed = entries("methods")
    assert [row.split()[0] for row in rows] == [entry.name for entry in listed]  # each in one line
    order = [families().index(entry.family) for entry in listed]
    assert order == sorted(order) and max(map(len, lines)) <= 80


METRICS = '''
raise RuntimeError("this file must not be run")

SOURCE: str = "a paper"
BOTH = (
    Number("first", "What comes first", ideal=0.5),
    Ours("second", about="What comes second.", unit="nats", source="another"),
)

@metric(*BOTH, Number("third", "What comes third"), unit="rate", low=0.0, high=1.0, source=SOURCE)
def ordinals(evidence, split):
    """Nothing that is listed."""

@metric("alone", splits=("test",), unit="bits", low=0.0, high=1.0, ideal=None, source=SOURCE)
def alone(evidence, split):
    """One number of its own.

    More of it.
    """
'''


def test_the_numbers_of_a_plugins_metrics_are_listed_without_running_it(plugin):
    plugin.write_text(METRICS)
    found = [(entry.name, entry.kind, entry.about, entry.paper) for entry in entries("metrics")[-4:]]
    assert found == [
        ("first", "rate", "What comes first; perfect: 0.5", "a paper"),
        ("second", "nats", "What comes second; perfect: the retrained model's value", "another"),
        ("third", "rate", "What comes third; perfect: the retrained model's value", "a paper"),
        ("alone", "bits", "One number of its own; perfect: the retrained model's value", "a paper"),
    ]


def test_a_plugin_that_is_no_python_is_named_with_its_line(plugin):
    plugin.write_text("x = 1\nclass:\n")
    for topic in ("methods", "metrics"):
        with pytest.raises(UserError, match=f"{plugin}, line 2 is not valid Python"):
            entries(topic)


def test_an_entry_is_shown_with_its_values(command):
    shown = command("list", "npo").stdout
    for part in ("npo (methods)", "method=npo", "image, text", "arXiv:2404.05868", "unlearnbench.methods.npo.Npo",
                 "configs/method/npo.yaml", "    beta: 0.1"):  # fmt: skip
        assert part in shown
    assert "_target_" not in shown
    assert "perfect:" in command("list", "zrf").stdout
    assert "'eval=[standard,relearn]'" in command("list", "relearn").stdout
    assert "train=adam" in command("list", "adam").stdout


def test_a_name_of_several_groups_shows_each():
    assert {topic for topic, _ in named("tofu")} == {"datasets", "forget", "training"}
