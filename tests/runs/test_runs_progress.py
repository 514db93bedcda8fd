"""What a terminal shows of workers: a line for each, and how far the jobs are; elsewhere plain lines."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from unlearnbench.graph.artefact import Computed
from unlearnbench.graph.cache import Cache
from unlearnbench.runners.claims import Claims
from unlearnbench.runs import progress
from unlearnbench.runs.left import Left
from unlearnbench.runs.plan import Entry


class Job:
    """A job that is done when it is told so."""

    def __init__(self):
        self.done = False

    def is_done(self):
        return self.done

    def has_ended(self, since):
        return False


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Return what makes a watch over three jobs, its screen, the jobs and the claims."""

    def make(terminal):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, width=100, legacy_windows=False)
        monkeypatch.setattr(progress, "Console", lambda **_where: console)
        cache, claims = Cache(tmp_path / "cache"), Claims(tmp_path / "claims")
        for number in (1, 2):
            cache.publish(f"e{number}", Computed({}, {"kind": "unlearn", "like": "a", "seconds": 120.0}))
        left = Left([Entry("m", "unlearn", "m", 0, (), (0,), None, False, "a")], cache)
        jobs = {number: Job() for number in range(3)}
        sweep = SimpleNamespace(jobs=jobs, rows=[{}] * 3)
        return progress.Watch(sweep, claims, tmp_path, left, workers=2), screen, jobs, claims

    return make


def test_a_terminal_shows_a_line_a_worker_and_the_time_left(watched):
    watch, screen, jobs, claims = watched(terminal=True)
    with watch, claims.held("aa", "original"), claims.held("bb", "unlearned"):
        watch.look()
        jobs[0].done = True
        watch.look()
    lines = [line for line in screen.getvalue().splitlines() if line.strip()]
    assert any("original" in line and line.rstrip().endswith("0 s") for line in lines)
    assert any("unlearned" in line for line in lines)
    assert "0 of 3 jobs done, about 60 s left" in screen.getvalue()  # 120 s by two workers
    assert "1 of 3 jobs done" in screen.getvalue()


def test_elsewhere_a_plain_line_is_written_when_something_has_changed(watched, capsys):
    watch, screen, jobs, _ = watched(terminal=False)
    with watch:
        watch.look()
        watch.look()
        for job in jobs.values():
            job.done = True
        watch.look()
    assert screen.getvalue() == ""
    assert capsys.readouterr().err.splitlines() == ["0 of 3 jobs done, about 60 s left", "3 of 3 jobs done"]
