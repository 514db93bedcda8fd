"""Tell the trackers that were chosen (track=...) of finished runs, each run once."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, sums
from unlearnbench.files.digests import file_digest
from unlearnbench.files.escapes import printable
from unlearnbench.request.compose import Request
from unlearnbench.request.config import build
from unlearnbench.runners.claims import Claims

log = logging.getLogger("unlearnbench")

WAIT_SECONDS = 0.2


def trackers(request: Request) -> dict[str, Any]:
    """Return the trackers of a run by name; raise UserError where one cannot be used here."""
    values = request.config.get("track") or {}
    if not isinstance(values, dict) or not all(isinstance(one, dict) for one in values.values()):
        raise UserError("track has no choice.\nTry: track=tensorboard, or 'track=[tensorboard,mlflow]'")
    found = {str(name): build(one, f"track.{name}", "track") for name, one in values.items()}
    for tracker in found.values():
        tracker.check()
    return found


def send(request: Request, folder: Path) -> None:
    """Tell the trackers of a finished run of which they have not been told; warn where that fails."""
    for name, tracker in trackers(request).items():
        place = request.outputs.absolute() / "track" / name
        mark, seal = place / ".sent" / folder.name, file_digest(folder / sums.NAME)
        try:
            with _alone(place):
                if mark.exists() and mark.read_text() == seal:
                    continue
                where = _send(tracker, folder, place)
                mark.parent.mkdir(exist_ok=True)
                leftovers.replace(mark, seal)
        except Exception as error:  # whatever a tracker's package raises: the run is finished, and must not be lost
            log.warning(
                "track=%s: the run is finished, but the tracker was not told of it (%s: %s). "
                "Try: the same command again, which sends what is missing",
                name, type(error).__name__, printable((str(error) or "no reason given").splitlines()[0]),
            )  # fmt: skip
        else:
            log.info("track=%s: %s is in %s", name, folder.name, printable(str(where or place)))


def _send(tracker: Any, folder: Path, place: Path) -> str | None:
    """Send a run and return where it is; what the tracker's package prints is no part of our output."""
    from unlearnbench.track.tracked import tracked

    said = io.StringIO()
    with redirect_stdout(said):
        where: str | None = tracker.send(tracked(folder), place)
    log.debug("%s", printable(said.getvalue().strip()))
    return where


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Wait until no other process of ours tells this tracker something: some cannot be told by two at once."""
    claims = Claims(place)
    while True:
        with claims.held(".sending", "telling a tracker") as mine:
            if mine:
                yield
                return
        time.sleep(WAIT_SECONDS)
