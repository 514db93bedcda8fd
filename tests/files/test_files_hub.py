"""Weights of the hub: the cache first, the network only where one is in reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearnbench.files import hub


def test_what_is_in_the_cache_needs_no_network(monkeypatch):
    monkeypatch.setattr(hub, "in_reach", lambda: pytest.fail("the network was asked for"))
    assert hub.fetched(lambda local: "here" if local else "there") == Path("here")


def missing(local):
    raise OSError(f"nothing with local={local}")


@pytest.mark.parametrize("reach, told", [(False, "cannot be reached"), (True, "OSError: nothing with local=False")])
def test_what_is_not_there_is_asked_for_where_the_hub_is_in_reach(monkeypatch, reach, told):
    monkeypatch.setattr(hub, "in_reach", lambda: reach)
    with pytest.raises(hub.Absent, match=told):
        hub.fetched(missing)


def test_behind_a_proxy_the_hub_may_be_in_reach(monkeypatch):
    hub.in_reach.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for scheme in ("https", "all"):
        monkeypatch.setattr(hub, "getproxies", lambda scheme=scheme: {scheme: "http://proxy:3128"})
        assert hub.in_reach()
        hub.in_reach.cache_clear()
    monkeypatch.setattr(hub, "proxy_bypass", lambda _host: True)
    monkeypatch.setattr(hub.socket, "create_connection", missing_connection)
    assert not hub.in_reach()
    hub.in_reach.cache_clear()
    monkeypatch.setattr(hub, "getproxies", dict)
    monkeypatch.setattr(hub.socket, "create_connection", missing_connection)
    assert not hub.in_reach()
    hub.in_reach.cache_clear()


def missing_connection(_place, timeout):
    raise OSError(f"no route within {timeout} s")
