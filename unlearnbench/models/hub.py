"""The Hugging Face hub: from its cache first, and over the network only where one is in reach."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 5.0
"""How long to wait for an answer: the hub's own client tries for half a minute before it gives up."""


class Absent(Exception):
    """What was asked for is neither in the cache nor to be had; says why."""


def fetched(fetch: Callable[[bool], str]) -> Path:
    """Return the place that `fetch(local_files_only)` names: from the cache, or the network; else raise Absent."""
    reason = ""
    for local in (True, False):
        if not local and not in_reach():
            raise Absent("the hub is not in reach")
        try:
            return Path(fetch(local))
        except Exception as error:  # the hub's client raises a dozen kinds; each means that it is not here
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    raise Absent(reason)


@cache
def in_reach() -> bool:
    """Return whether a connection to the hub opens; behind a proxy, which only its client knows how to ask, it may."""
    from huggingface_hub import constants

    place, proxies = urlsplit(constants.ENDPOINT), getproxies()
    host = place.hostname or ""
    if constants.HF_HUB_OFFLINE:
        return False
    if (proxies.get(place.scheme) or proxies.get("all")) and not proxy_bypass(host):
        return True
    try:
        port = place.port or (80 if place.scheme == "http" else 443)
        with socket.create_connection((host, port), timeout=SECONDS):
            return True
    except (OSError, ValueError):  # ValueError: a port that is none
        return False
