"""The command line. Heavy imports happen only where they are needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

from unlearnbench import __version__, signals
from unlearnbench.errors import DONE, FAILED, INTERRUPTED, USAGE, Stopped, UserError, nearest
from unlearnbench.files import disk
from unlearnbench.machine import provenance

COMMANDS = ("run", "score", "export", "plan", "work", "status", "report", "verify", "list")
USAGE_TEXT = """\
usage: unlearnbench COMMAND ...

  run [GROUP=CHOICE] [KEY=VALUE] ... [-m]   train, unlearn, evaluate; -m sweeps over comma-separated values
  run --from RUN [the words of a run]       a run again from its folder, or changed by further words
  score MODEL --data DATA [the words of a run]  what somebody else unlearned, beside a run's original and retrained
  export RUN --to TARGET                    the unlearned model in the form it came in: a file, a folder, the hub
  plan [the words of a run]                 what a run or sweep would compute; --export sbatch, snakemake, kubernetes
  status [PLAN]                             what is done, being computed, failed and left
  report [FOLDER ...] [--to FOLDER]         join runs into tables, figures and one HTML page; --bundle, --evidence
  verify PLACE                              find damage in runs and caches, or numbers in a bundle that do not follow
  list [TOPIC or NAME]                      methods, models, datasets, forget, evaluations, metrics, experiments
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
        from unlearnbench.commands import completion

        return completion.main(list(words), COMMANDS)
    if command in ("-h", "--help"):
        print(USAGE_TEXT, end="")
        return DONE if words else USAGE
    if command == "--version":
        print(f"unlearnbench {__version__}")
        return DONE
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}.{nearest(command, COMMANDS)}\nTry: unlearnbench --help")
    found: int = import_module(f"unlearnbench.commands.{command}").main(rest)
    return found
