"""The Hugging Face hub: the local cache first, then the network if the hub can be reached."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 5.0
"""How long to wait for an answer; the hub's own client takes half a minute to give up."""


class Absent(Exception):
    """The file is neither in the cache nor available from the hub; the message says why."""


def fetched(fetch: Callable[[bool], str]) -> Path:
    """Return the path from `fetch(local_files_only)`: cache first, then network, else Absent."""
    reason = ""
    for local in (True, False):
        if not local and not in_reach():
            raise Absent("the hub cannot be reached")
        try:
            return Path(fetch(local))
        except Exception as error:  # the hub's client raises a dozen kinds; all mean that the file is absent
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    raise Absent(reason)


@cache
def in_reach() -> bool:
    """Return whether the hub answers; behind a proxy, which only its client can use, assume so."""
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
    except (OSError, ValueError):  # ValueError: an invalid port
        return False
