"""The source code in keys: what a module imports, without what cannot change a number."""

from __future__ import annotations

import pytest

from unlearnbench.graph import sources
from unlearnbench.graph.sources import closure, tree_digest

CODE = '"""About."""\nimport os\n\n\ndef f(x):\n    """Return more."""\n    return x + 1\n'


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (CODE.replace("About", "Something else"), True),
        (CODE.replace("Return more.", "Return one more."), True),
        (CODE.replace('    """Return more."""\n', ""), True),
        (CODE.replace("x + 1", "x + 1  # one more"), True),
        (CODE.replace("x + 1", "(x\n            + 1)"), True),
        (CODE.replace("x + 1", "x + 2"), False),
        (CODE.replace("import os", "import sys"), False),
        (CODE.replace("def f(x)", "def f(x=0)"), False),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path, changed, same):
    (tmp_path / "a.py").write_text(CODE)
    (tmp_path / "b.py").write_text(changed)
    assert (tree_digest(tmp_path / "a.py") == tree_digest(tmp_path / "b.py")) is same


def test_imports_for_type_checking_do_not_count():
    text = (
        "from typing import TYPE_CHECKING\nimport unlearnbench.ranges\nif TYPE_CHECKING:\n    import unlearnbench.cli\n"
    )
    text += "def f():\n    from unlearnbench import randomness\n    from unlearnbench.training.losses import softened\n"
    found = {
        name for node in sources._imports(sources.ast.parse(text)) for name in sources._named(node)
        if name.startswith("unlearnbench")
    }  # fmt: skip
    assert found == {"unlearnbench.ranges", "unlearnbench.randomness", "unlearnbench.training.losses"}


def test_no_closure_reaches_what_cannot_change_a_number():
    everything = closure(["unlearnbench.experiment", "unlearnbench.evaluations.standard", "unlearnbench.assemble"])
    folders = {name.split(".")[1] for name in everything}
    assert not folders & set(sources.FOLDERS)
    assert "unlearnbench.errors" not in everything


def test_a_method_brings_what_it_imports_and_no_other_method():
    npo, masking = closure(["unlearnbench.methods.npo"]), closure(["unlearnbench.methods.masking"])
    assert "unlearnbench.training.losses" in npo and "unlearnbench.models.hooks" in masking
    assert {name for name in npo | masking if ".methods." in name} == {
        "unlearnbench.methods.npo", "unlearnbench.methods.masking",
    }  # fmt: skip
