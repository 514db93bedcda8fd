"""A real browser for tests: headless Chromium, driven by its DevTools protocol over two pipes.

`with Browser() as browser: browser.open(file)` shows a page; `errors` and `requests` say what went wrong in it and
what it loaded.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
    "--disable-background-networking", "--no-first-run", "--remote-debugging-pipe",
)  # fmt: skip
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(FOUND is None, reason=f"needs a browser: one of {', '.join(NAMES)}")


class Browser:
    """One page in a browser of its own."""

    def __enter__(self) -> Self:
        """Start the browser: it reads commands from its file 3 and writes answers to its file 4."""
        assert FOUND is not None
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        words = [FOUND, *FLAGS, f"--user-data-dir={self._home.name}", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "browser", *words]
        self._process = subprocess.Popen(
            shell, pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb", buffering=0), os.fdopen(ours_in, "rb")
        self._numbers, self._session, self._rest = itertools.count(1), "", b""
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the browser."""
        self._out.close()
        self._in.close()
        self._process.terminate()
        self._process.wait(20)
        self._home.cleanup()

    def send(self, method: str, **values: Any) -> dict[str, Any]:
        """Send a command, and return its answer; keep the events that come before it."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": values}
        message |= {"sessionId": self._session} if self._session else {}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == number:
                assert "error" not in found, found
                return found["result"]
            self._event(found)

    def open(self, file: Path, width: int = 1400, scheme: str = "light") -> None:
        """Open a file in a window of this width and colour scheme, and wait until it is there."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self.send("Page.navigate", url=file.as_uri())
        while not self._loaded:
            self._event(self._read())

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as a user does."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"Enter": 13, " ": 32, "Tab": 9}[key]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in.fileno(), 2**16)
            assert more, "the browser has ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _event(self, found: dict[str, Any]) -> None:
        """Keep what an event says of errors and requests, and that the page is there."""
        name, values = found.get("method", ""), found.get("params", {})
        self._loaded |= name == "Page.loadEventFired"
        if name == "Log.entryAdded":
            self.errors.append(values["entry"]["text"])
        elif name == "Runtime.exceptionThrown" or (
            name == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning", "assert")
        ):
            self.errors.append(json.dumps(values))
        elif name == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
