"""What commands share: their parser, the log on the terminal, and the flags that name configurations and plugins."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from unlearnbench.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are UserErrors."""

    def words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse flags among the words of a run; raise UserError for a flag that does not exist, or a leading blank."""
        from unlearnbench.request.slips import refuse_blanks, unknown_flag

        given, unknown = self.parse_known_intermixed_args(words)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise UserError(unknown_flag(unknown[0], words, flags, self.prog))
        refuse_blanks(given.overrides)
        return given

    def error(self, message: str) -> NoReturn:
        """Raise a UserError instead of exiting."""
        raise UserError(f"{message}\nTry: {self.prog} --help")


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name further configuration folders, and plugins to trust."""
    parser.add_argument(
        "--config-dir", "-cd", action="append", type=Path, default=[], metavar="FOLDER",
        help="also look for configuration files in this folder",
    )  # fmt: skip
    parser.add_argument(
        "--plugin", action="append", type=Path, default=[], metavar="FILE.py",
        help="trust the methods, models and other classes of this file",
    )  # fmt: skip


def use_sources(given: argparse.Namespace) -> None:
    """Trust the plugins that were named; raise UserError for a folder or file that is not there."""
    from unlearnbench.request import plugins

    for folder in given.config_dir:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder} is not a folder.\nTry: a folder with method/NAME.yaml in it")
    for file in given.plugin:
        plugins.trust_file(file)


def log_to_terminal() -> None:
    """Show the log on the terminal."""
    log = logging.getLogger("unlearnbench")
    log.setLevel(logging.DEBUG)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of a kernel on the hub, used or not
    log.propagate = False
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)


def add_from(parser: argparse.ArgumentParser) -> None:
    """Add the flag that takes the words of a run from its folder."""
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="RUN",
        help="the words of the run in this folder; those that are typed change it",
    )  # fmt: skip


def repeated(given: argparse.Namespace) -> None:
    """Put the words of the run that --from names before those that were typed; say what is different from then."""
    given.repeat = None
    if given.source is None:
        return
    from unlearnbench.runs import repeat

    given.repeat = repeat.of(given.source, given.overrides, given.config_dir)
    given.overrides = list(given.repeat.words)
    for line in given.repeat.differences():
        logging.getLogger("unlearnbench").info("%s", line)
