"""Artefacts on disk: some of the tensors can be read without the others, and damage is told either way."""

from __future__ import annotations

import pytest
import torch

from unlearnbench.graph import artefact
from unlearnbench.graph.artefact import TENSORS, Computed, Damaged, read_artefact, write_artefact

TWO = Computed({"0.weight": torch.ones(3), "1.weight": torch.zeros(3), "right": torch.ones(1)}, {})


def test_the_tensors_of_one_model_are_read_alone_and_the_digest_is_computed_once(tmp_path, monkeypatch):
    write_artefact(tmp_path / "stage", TWO)
    stored, read = read_artefact(tmp_path / "stage"), []
    digest = artefact.file_digest
    monkeypatch.setattr(artefact, "file_digest", lambda path: read.append(path.name) or digest(path))
    assert {name: value.tolist() for name, value in stored.starting("1.").items()} == {"1.weight": [0, 0, 0]}
    assert set(stored.starting("0.")) == {"0.weight"} and set(stored.tensors) == set(TWO.tensors)
    assert read == [TENSORS]


def test_a_file_that_changes_is_read_again_and_its_damage_told(tmp_path):
    write_artefact(tmp_path / "stage", TWO)
    stored = read_artefact(tmp_path / "stage")
    assert stored.starting("right")
    with (tmp_path / "stage" / TENSORS).open("ab") as file:
        file.write(b" ")
    with pytest.raises(Damaged, match="does not have the SHA-256"):
        stored.starting("right")
