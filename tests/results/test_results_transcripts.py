"""Transcripts: each answer is found again in the user's own file."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from unlearnbench.data.text import TextRow
from unlearnbench.evidence import Scores
from unlearnbench.results.transcripts import write


@pytest.mark.parametrize(
    ("facts", "heading"), [({"id": "r_[8]"}, r"## 1. test, id r_\[8\], index 0"), ({}, "## 1. test, row 0")]
)
def test_a_row_is_named_by_its_id_where_it_has_one(tmp_path, facts, heading):
    row = TextRow(prompt="Who?", options=("Ann",), label=0, corrected=0, facts=facts)
    data = SimpleNamespace(rows=(row,), corrected=None, info=SimpleNamespace(has_options=False))
    extras = {"generated": np.array(["Bob"]), "reference": np.array(["Ann"])}
    one = Scores(np.zeros((1, 1), np.float32), np.zeros(1, int), np.zeros(1, int), extras)
    none = Scores(np.zeros((0, 1), np.float32), np.zeros(0, int), np.zeros(0, int))
    write(tmp_path, data, {"original": {"test": one, "forget": none, "retain": none}})
    assert heading in (tmp_path / "transcripts.md").read_text().splitlines()
    with (tmp_path / "transcripts.csv").open() as file:
        assert next(csv.DictReader(file)).get("id") == facts.get("id")
