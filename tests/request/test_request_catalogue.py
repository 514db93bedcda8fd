"""What `list` says of choices, read from YAML and source without running either."""

from __future__ import annotations

import json

import pytest

from unlearnbench.errors import UserError
from unlearnbench.request import plugins
from unlearnbench.request.catalogue import entries

PLUGIN = '''
"""Shrinking, arXiv:2401.00001."""
raise RuntimeError("this file must not be run")

class Shrink:
    """Scale the head's weights."""
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
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
    assert found.about.startswith("Scale the head's weights. It has no YAML yet")
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "shrink.yaml").write_text("_target_: listed_plugin.Shrink\n")
    named = described("methods", tmp_path / "mine")
    assert named["shrink"].about == "Scale the head's weights"
    assert not any(name.startswith("listed_plugin") for name in named)


def test_a_plugin_that_is_no_python_is_named_with_its_line(plugin):
    plugin.write_text("x = 1\nclass:\n")
    for topic in ("methods", "metrics"):
        with pytest.raises(UserError, match=f"{plugin}, line 2 is not valid Python"):
            entries(topic)
