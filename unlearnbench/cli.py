"""The command line: run, report, verify, list. Heavy imports happen only where they are needed."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unlearnbench import __version__, signals
from unlearnbench.errors import DONE, FAILED, INTERRUPTED, USAGE, Stopped, UserError, nearest
from unlearnbench.files import disk
from unlearnbench.machine import provenance

if TYPE_CHECKING:
    from unlearnbench.request.compose import Composed

COMMANDS = ("run", "report", "verify", "list")
USAGE_TEXT = """\
usage: unlearnbench COMMAND ...

  run [GROUP=CHOICE] [KEY=VALUE] ... [-m]   train, unlearn, evaluate; -m sweeps over comma-separated values
  report [FOLDER ...] [--to FOLDER]         join runs into tables, figures and one HTML page
  verify FOLDER                             find damage in a run, sweep, outputs folder or cache
  list [TOPIC]                              methods, models, datasets, forget, metrics, experiments
  --version, --help                         `unlearnbench run --help` shows all groups and keys

completion for bash: eval "$(unlearnbench -sc install=bash)"   (zsh and fish too)
"""


def main() -> NoReturn:
    """Run this process's command line and exit with its code."""
    provenance.typed(sys.argv[1:])
    with signals.handled():
        sys.exit(_code())


def _code() -> int:
    """Run what was typed; report a failure in one line, and return the exit code."""
    try:
        code = dispatch(sys.argv[1:])
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(str(error), USAGE)
    except Stopped as error:
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _let_go_of_stdout()
        return FAILED
    except OSError as error:
        if error.errno not in disk.FULL or error.filename is not None:
            raise
        _let_go_of_stdout()
        return _say(f"{disk.FULL[error.errno]}: the output cannot be written", FAILED)


def _say(line: str, code: int) -> int:
    with suppress(OSError):
        print(f"unlearnbench: {line}", file=sys.stderr, flush=True)
    return code


def _let_go_of_stdout() -> None:
    """Make Python discard unwritten output when it exits, without another error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def dispatch(words: Sequence[str]) -> int:
    """Run the command in the words after `unlearnbench`; return the exit code."""
    command, rest = (words[0], list(words[1:])) if words else ("--help", [])
    if command in ("-sc", "--shell-completion"):
        return _complete(list(words))
    if command in ("-h", "--help"):
        print(USAGE_TEXT, end="")
        return DONE if words else USAGE
    if command == "--version":
        print(f"unlearnbench {__version__}")
        return DONE
    commands = {"run": _run, "report": _report, "verify": _verify, "list": _list}
    if command not in commands:
        raise UserError(f"unknown command {command!r}.{nearest(command, COMMANDS)}\nTry: unlearnbench --help")
    return commands[command](rest)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise a UserError instead of exiting."""
        raise UserError(f"{message}\nTry: {self.prog} --help")


def _run(words: list[str]) -> int:
    parser = _Parser("unlearnbench run", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-i", "--info", nargs="?", const="all")
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])
    parser.add_argument("--plugin", action="append", type=Path, default=[])
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    given = parser.parse_intermixed_args(words)
    from unlearnbench.request import plugins
    from unlearnbench.request.compose import compose, expand, scaled
    from unlearnbench.request.words import literal
    from unlearnbench.runs import sweep

    for folder in given.config_dir:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder} is not a folder.\nTry: a folder with method/NAME.yaml in it")
    for file in given.plugin:
        plugins.trust_file(file)
    given.overrides = scaled(given.overrides, given.config_dir)
    if given.multirun and (given.cfg or given.info):
        raise UserError(
            "--cfg and --info show one configuration, but -m asks for several.\nTry: without -m, one value per key"
        )
    if given.help or given.hydra_help or given.cfg or given.info:
        compose([] if given.hydra_help else given.overrides, given.config_dir)
        sweep.hydra_main(_hydra_words(given))
        return DONE
    _log_to_terminal()
    one = list(
        next(expand(given.overrides, (), given.config_dir))
    )  # a preset that is a sweep allows several values too
    composed = compose(one, given.config_dir, sweep=given.multirun)
    if not composed.sweep and one != literal(given.overrides):
        composed = compose(given.overrides, given.config_dir)
    if composed.sweep:
        sweep.check_all(composed, given.overrides, given.config_dir)
        return _show_sweep(*sweep.launch(composed, given.overrides, given.config_dir))
    return _single(composed)


def _single(composed: Composed) -> int:
    from rich.console import Console

    from unlearnbench.results.table import show
    from unlearnbench.runs.launch import execute

    outcome = execute(composed.request)
    show(outcome.folder, reused=outcome.reused, console=Console())
    return DONE if outcome.status in ("done", "skipped") else FAILED


def _show_sweep(folder: Path, code: int) -> int:
    board = folder / "report" / "leaderboard.md"
    if board.exists():
        print(board.read_text())
    print(f"jobs: {folder / 'jobs.csv'}\nreport: {folder / 'report' / 'report.html'}")
    return code


def _hydra_words(given: argparse.Namespace) -> list[str]:
    """Return the words to pass to Hydra, with its own flags."""
    from unlearnbench.request.compose import search_path
    from unlearnbench.request.words import literal

    words = [*literal(given.overrides), *search_path(given.config_dir)]
    words += ["--cfg", given.cfg] if given.cfg else []
    words += ["--info", given.info] if given.info else []
    words += ["--package", given.package] if given.package else []
    flags = {"--resolve": given.resolve, "--help": given.help, "--hydra-help": given.hydra_help}
    return [*words, *(flag for flag, on in flags.items() if on)]


def _report(words: list[str]) -> int:
    parser = _Parser("unlearnbench report", description="Join runs into tables, figures and one HTML page.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="runs, sweeps or outputs folders")
    parser.add_argument("--to", type=Path, default=Path("report"), metavar="FOLDER", help="default: report")
    given = parser.parse_args(words)
    from unlearnbench.report import write

    _log_to_terminal()
    target = write(given.folders or [Path("outputs")], given.to)
    print((target / "leaderboard.md").read_text())
    print(f"report: {target / 'report.html'}")
    return DONE


def _verify(words: list[str]) -> int:
    parser = _Parser(
        "unlearnbench verify",
        description="Read every file again and report what has changed: one line per problem, then the counts.",
        epilog="Exit codes: 0 everything is sound, 1 something is damaged, 2 the folder is none of these. To replace a "
        "damaged run or stage, run its command again.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a run, a sweep, an outputs folder or a cache")
    given = parser.parse_args(words)
    from unlearnbench.files.escapes import printable
    from unlearnbench.runs.verify import verify

    found = verify(given.folder)
    for line in found.lines():
        print(printable(line))
    return FAILED if found.problems else DONE


def _list(words: list[str]) -> int:
    from unlearnbench.request import plugins
    from unlearnbench.request.catalogue import TOPICS, entries

    parser = _Parser("unlearnbench list", description="Show the available choices.")
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--config-dir", action="append", type=Path, default=[])
    parser.add_argument("--plugin", action="append", type=Path, default=[])
    given = parser.parse_args(words)
    for file in given.plugin:
        plugins.trust_file(file)
    if given.topic is not None and given.topic not in TOPICS:
        raise UserError(
            f"unknown topic {given.topic!r}.{nearest(given.topic, TOPICS)}\nTry: unlearnbench list, or one of "
            f"{', '.join(TOPICS)}"
        )
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for topic in [given.topic] if given.topic else TOPICS:
        table = Table(title=topic, title_justify="left", box=None, pad_edge=False)
        rows = [(entry.name, entry.kind, entry.about, entry.paper) for entry in entries(topic, given.config_dir)]
        columns = dict(zip(("name", "kind", "what it is", "paper"), zip(*rows, strict=True), strict=False))
        used = {title: cells for title, cells in columns.items() if any(cells)}
        for title in used:
            table.add_column(title, no_wrap=title == "name")
        for cells in zip(*used.values(), strict=True):
            table.add_row(*(escape(text) for text in cells))
        console.print(table)
        console.print()
    return DONE


def _complete(words: list[str]) -> int:
    """Complete with Hydra, hiding the word `run`, because Hydra does not know our commands."""
    line = os.environ.get("COMP_LINE", "")
    after_run = re.match(r"^(\S+)\s+run\s(.*)$", line, re.DOTALL)
    if any(word.startswith("query=") for word in words) and not after_run:
        before, _, start = line.rpartition(" ")
        print(" ".join(word for word in _next_words(before.split()[1:]) if word.startswith(start)))
        return DONE
    if after_run:
        os.environ["COMP_LINE"] = f"{after_run[1]} {after_run[2]}"
    from unlearnbench.runs.sweep import hydra_main

    hydra_main(words)
    return DONE


def _next_words(before: Sequence[str]) -> Sequence[str]:
    """Return the words that may follow: commands, or the topics of `list`."""
    from unlearnbench.request.catalogue import TOPICS

    if not before:
        return COMMANDS
    return tuple(TOPICS) if list(before) == ["list"] else ()


def _log_to_terminal() -> None:
    log = logging.getLogger("unlearnbench")
    log.setLevel(logging.DEBUG)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns about a kernel on the hub even if unused
    log.propagate = False
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
