"""Words that messages share."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from unlearnbench.errors import counted
from unlearnbench.runs.job import RunJob


def test_a_number_has_the_right_form_of_its_noun():
    assert [counted(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(1, "entry", "entries") == "1 entry" and counted(1200, "entry", "entries") == "1,200 entries"


def test_the_jobs_of_a_sweep_say_what_holds_for_all_of_them_once(caplog, monkeypatch):
    logger = logging.getLogger("unlearnbench")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "handlers", [])  # those of commands that other tests ran here
    data = SimpleNamespace(left_out={"a.jpg": "empty"})
    world = SimpleNamespace(
        bench=SimpleNamespace(data=data, clean=data), seen_by_checkpoint=lambda: {"text": "seen: 9 rows"}
    )
    model = SimpleNamespace(checkpoint="w.pt")
    experiment = SimpleNamespace(forget=object(), model=model, references=1)
    job = RunJob.__new__(RunJob)
    job.assembled = SimpleNamespace(experiment=experiment)
    job.picture = (SimpleNamespace(world=world),)
    monkeypatch.setattr("unlearnbench.runs.job.remarks", lambda forget, data: [])
    monkeypatch.setattr("unlearnbench.runs.job.twins_retained", lambda splits, data: 0)
    world.splits = None
    said = set()
    with caplog.at_level(logging.INFO, "unlearnbench"):
        job._warn(said)
        job._warn(said)
    assert caplog.messages.count("seen: 9 rows") == 1
    assert caplog.messages[0] == "1 file is not a sound image and is left out (left_out.csv): a.jpg"
