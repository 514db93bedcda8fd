"""Ctrl-C and SIGTERM: one line, no traceback, no half-written folder, at whatever moment they come.

The handlers raise nothing: an exception in the middle of an import or of a finalizer is printed or swallowed there.
They clean up and end the process at once. A second signal is ignored for `PATIENCE` seconds, and then ends it as it is.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

TYPE_CHECKING = False  # typing takes a while to import, and a signal may come in the meantime
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
PATIENCE = 1.0
"""Seconds in which a second signal does not disturb the cleaning up."""

_ended: list[tuple[int, float]] = []
_cleaners: list[Callable[[], None]] = []


def install() -> None:
    """Let this process end by itself at Ctrl-C and SIGTERM, unless it was told to ignore them or somebody else cares.

    Does nothing in a thread, where Python sets no handlers.
    """
    try:
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) is default:
                signal.signal(number, _end)
    except ValueError:
        return


@contextmanager
def handled() -> Iterator[None]:
    """Install the handlers for the block alone, where they were not there before it."""
    before = {number: signal.getsignal(number) for number in WORDS}
    install()
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _end:
                signal.signal(number, handler)


def at_end(clean: Callable[[], None]) -> None:
    """Have `clean` called when a signal ends the process; it must neither log nor import."""
    if clean not in _cleaners:
        _cleaners.append(clean)


def no_longer(clean: Callable[[], None]) -> None:
    """Undo `at_end`."""
    if clean in _cleaners:
        _cleaners.remove(clean)


def _end(number: int, _frame: FrameType | None) -> None:
    import time

    if _ended:
        if time.monotonic() - _ended[0][1] < PATIENCE:
            return
        os._exit(128 + _ended[0][0])
    _ended.append((number, time.monotonic()))
    _say(f"unlearnbench: {WORDS[signal.Signals(number)]}\n")
    for clean in reversed(_cleaners):
        try:
            clean()
        except Exception as error:
            _say(f"unlearnbench: not cleaned up: {error}\n")
    os._exit(128 + number)


def _say(line: str) -> None:
    """Write to the terminal past Python's buffers, which the interrupted code may hold; show a hidden cursor again."""
    try:
        os.write(2, (("\r\x1b[K\x1b[?25h" if os.isatty(2) else "") + line).encode())
    except OSError:
        return
