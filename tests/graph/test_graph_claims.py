"""Claims save work, and nothing else depends on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

from toys import Reading, Sum, do
from unlearnbench.graph.cache import Cache
from unlearnbench.runners import claims, execute
from unlearnbench.runners.claims import Claims
from worlds import HERE


def test_a_claim_is_held_once_and_gone_after_the_block(tmp_path):
    mine, others = Claims(tmp_path), Claims(tmp_path)
    with mine.held("a1", "label") as first, others.held("a1") as second, others.held("b2") as another:
        assert (first, second, another) == (True, False, True)
        assert mine.holders()["a1"]["label"] == "label"
    assert not list(tmp_path.iterdir())


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path):
    code = "import os\nfrom pathlib import Path\nfrom unlearnbench.runners.claims import Claims\n"
    code += f"held = Claims(Path({str(tmp_path)!r})).held('a1')\nheld.__enter__()\nos._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False, env=HERE)
    assert (tmp_path / "a1").exists()
    with Claims(tmp_path).held("a1") as mine:
        assert mine


def test_a_claim_without_a_heartbeat_is_taken_over(tmp_path, monkeypatch):
    """Of another host, whose processes nobody can ask."""
    (tmp_path / "a1").write_text(json.dumps({"host": "elsewhere", "process": 1, "started": "1"}))
    with Claims(tmp_path).held("a1") as mine:
        assert not mine
    old = (tmp_path / "a1").stat().st_mtime - claims.BEATS * claims.BEAT_SECONDS - 1
    os.utime(tmp_path / "a1", (old, old))
    with Claims(tmp_path).held("a1") as mine:
        assert mine


def test_a_held_claim_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    with Claims(tmp_path).held("a1"):
        old = (tmp_path / "a1").stat().st_mtime - 1000
        os.utime(tmp_path / "a1", (old, old))
        threading.Event().wait(0.5)
        assert (tmp_path / "a1").stat().st_mtime > old + 500


def test_a_claimed_stage_is_passed_over_and_looked_at_again(tmp_path, monkeypatch):
    """While another process holds the first stage, the second is done; then the first is there, from elsewhere."""
    order = []
    first, second = Sum(1.0, note=order.append), Sum(2.0, note=order.append)
    held = Claims(tmp_path / "claims").held(first.key)
    held.__enter__()

    def elsewhere(_seconds):
        assert [stage.number for stage in order] == [2.0]
        Cache(tmp_path).publish(first.key, Sum(1.0).compute(None))
        held.__exit__(None, None, None)

    monkeypatch.setattr(execute.time, "sleep", elsewhere)
    job, done = do(tmp_path, first, second)
    assert job.found == [1.0, 2.0] and done.computed == {second.key}


def test_a_job_ends_as_soon_as_another_process_has_done_the_rest_of_it(tmp_path):
    """What is shared comes while a stage of the first job is computed: the first job ends before the second begins."""
    shared, ended = Sum(1.0), []
    held = Claims(tmp_path / "claims").held(shared.key)
    held.__enter__()

    def elsewhere(_stage):
        Cache(tmp_path).publish(shared.key, Sum(1.0).compute(None))
        held.__exit__(None, None, None)

    first = Reading((shared, Sum(2.0, note=elsewhere)))
    second = Reading((Sum(3.0, note=lambda _stage: ended.append(first.ended)),), key="second")
    execute.execute([first, second], Cache(tmp_path), Claims(tmp_path / "claims"))
    assert ended == [True] and first.found == [1.0, 2.0]


def test_without_working_claims_results_are_the_same(tmp_path, monkeypatch):
    """Where everybody gets every claim: two compute one stage, and one of them publishes it."""
    monkeypatch.setattr(Claims, "_created", lambda self, path, label: path.parent.mkdir(exist_ok=True) or True)
    meet = threading.Barrier(2)
    stage = Sum(1.0, note=lambda _stage: meet.wait(timeout=30))
    found = []
    threads = [threading.Thread(target=lambda: found.append(do(tmp_path, stage)[0].found)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1.0], [1.0]]
