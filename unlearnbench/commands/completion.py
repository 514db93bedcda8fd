"""Completion in a shell: Hydra's, which knows no commands of ours."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

from unlearnbench.errors import DONE


def main(words: list[str], commands: Sequence[str]) -> int:
    """Print what may follow: commands and topics are ours, all after `run` is Hydra's, which does not see that word."""
    line = os.environ.get("COMP_LINE", "")
    after_run = re.match(r"^(\S+)\s+run\s(.*)$", line, re.DOTALL)
    if any(word.startswith("query=") for word in words) and not after_run:
        before, _, start = line.rpartition(" ")
        print(" ".join(word for word in _next(before.split()[1:], commands) if word.startswith(start)))
        return DONE
    if after_run:
        os.environ["COMP_LINE"] = f"{after_run[1]} {after_run[2]}"
    if any(word.endswith("install=fish") for word in words):
        print(_for_fish(words))
        return DONE
    from unlearnbench.request.shown import by_hydra

    by_hydra(words)
    return DONE


def _for_fish(words: Sequence[str]) -> str:
    """Return Hydra's script without the lines that complete for Python itself."""
    from unlearnbench.request.shown import NAME, by_hydra

    written = StringIO()
    with redirect_stdout(written):
        by_hydra(words)
    lines = written.getvalue().splitlines()
    return "\n".join(line for line in lines if not line.startswith("complete ") or f"-c {NAME} " in f"{line} ")


def _next(before: Sequence[str], commands: Sequence[str]) -> Sequence[str]:
    """Return what may follow these words: a command, or a topic of `list`."""
    from unlearnbench.request.catalogue import TOPICS

    if not before:
        return commands
    return tuple(TOPICS) if list(before) == ["list"] else ()
