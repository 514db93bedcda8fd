"""What a run says it was made with: a command that can be typed again."""

from __future__ import annotations

from unlearnbench.machine import provenance


def test_the_command_is_what_was_typed_or_what_python_asked_for(monkeypatch):
    monkeypatch.delenv(provenance.TYPED, raising=False)
    assert provenance.command(["method=none", "forget.classes=[0, 1]"]) == (
        "unlearnbench run method=none 'forget.classes=[0, 1]'"
    )
    monkeypatch.setenv(provenance.TYPED, "")
    provenance.typed(["run", "-m", "seed=0,1", "outputs=my runs"])
    assert provenance.command(["seed=0"]) == "unlearnbench run -m seed=0,1 'outputs=my runs'"
