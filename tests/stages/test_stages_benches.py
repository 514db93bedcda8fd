"""In one process a data set is loaded once, and tokenised once, for all jobs that share it."""

from __future__ import annotations

import pytest

from unlearnbench.assemble import assemble
from unlearnbench.data.clinical_notes import ClinicalNotes
from unlearnbench.data.synthetic import Synthetic
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from unlearnbench.tasks.encoding import Encoder
from worlds import TINY

TEXT = ("dataset=clinical_notes", "dataset.limit=60", "dataset.limit_test=20", "model=llama_tiny")


@pytest.mark.parametrize(
    ("kind", "words", "others"),
    [
        (Synthetic, TINY, ("seed=1", "method=npo", "forget=random", "train.epochs=3", "reference.count=2")),
        (ClinicalNotes, TEXT, ("seed=1", "method=npo", "train.epochs=3", "method.beta=0.5 method=npo")),
    ],
)
def test_jobs_of_a_sweep_share_data_and_task(monkeypatch, kind, words, others):
    calls = []
    load, encode = kind.load, Encoder.encode
    monkeypatch.setattr(kind, "load", lambda self: calls.append("load") or load(self))
    monkeypatch.setattr(Encoder, "encode", lambda self, *what: calls.append("encode") or encode(self, *what))
    benches = Benches()
    first = benches.of(assemble(prepare(list(words))).experiment)
    alone = list(calls)
    assert alone.count("load") == 1 and ("encode" in alone) == (kind is ClinicalNotes)
    for word in others:
        assert benches.of(assemble(prepare([*words, *word.split()])).experiment).task is first.task
    assert calls == alone


def test_other_data_are_another_bench():
    benches = Benches()
    one, other = (benches.of(assemble(prepare([*TINY, f"dataset.seed={seed}"])).experiment) for seed in (0, 1))
    assert one.data is not other.data
