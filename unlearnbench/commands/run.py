"""unlearnbench run: train, unlearn, evaluate; one run, or a sweep."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.commands.parser import Parser, add_from, add_sources, log_to_terminal, repeated, use_sources
from unlearnbench.errors import DONE, FAILED, UserError

if TYPE_CHECKING:
    from unlearnbench.request.compose import Composed
    from unlearnbench.runs.launch import Outcome
    from unlearnbench.runs.repeat import Repeat
    from unlearnbench.runs.sweep import Sweep


def main(words: list[str]) -> int:
    """Do a run, a sweep, or show a configuration; return the exit code."""
    log_to_terminal()
    given = parsed(words)
    if only_shows(given):
        return _show(given)
    composed = composed_for(given)
    if composed.sweep:
        return _show_sweep(*swept(given, composed))
    return _single(composed, given.repeat)


def parsed(words: list[str]) -> argparse.Namespace:
    """Return the flags and words of a line, and trust the plugins that it names; raise UserError for mistakes."""
    parser = Parser("unlearnbench run", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-i", "--info", nargs="?", const="all")
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    add_sources(parser)
    add_from(parser)
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    given = parser.words(words)
    from unlearnbench.request.compose import scaled

    use_sources(given)
    repeated(given)
    given.overrides = scaled(given.overrides, given.config_dir)
    if given.multirun and (given.cfg or given.info):
        raise UserError(
            "--cfg and --info show one configuration, but -m asks for several.\nTry: without -m, one value per key"
        )
    return given


def only_shows(given: argparse.Namespace) -> bool:
    """Return whether a line asks for help or a configuration, and for no run."""
    return bool(given.help or given.hydra_help or given.cfg or given.info)


def composed_for(given: argparse.Namespace) -> Composed:
    """Compose a line: a single run with workers is a sweep of one job."""
    composed = composed_line(given)
    if not composed.sweep and not composed.request.runner.alone:  # workers do one job as they do many
        given.multirun = True
        composed = composed_line(given)
    return composed


def swept(given: argparse.Namespace, composed: Composed) -> tuple[Sweep, Path, int]:
    """Do a sweep, or submit it; return it, its folder and the exit code."""
    from unlearnbench.runs.sweep import Sweep
    from unlearnbench.runs.sweeping import launch

    sweep = Sweep(given.overrides, composed.parameters, given.config_dir, planning=composed.request.runner.away)
    return sweep, *launch(sweep, composed)


def composed_line(given: argparse.Namespace) -> Composed:
    """Compose the words of a line: of a sweep, its first job. A preset that is a sweep takes several values too.

    A run that is repeated was one job, even of such a preset.
    """
    from unlearnbench.request.compose import compose
    from unlearnbench.request.jobs import swept as jobs_of
    from unlearnbench.request.words import literal

    one = jobs_of(given.overrides, (), given.config_dir).first()
    composed = compose(one, given.config_dir, sweep=given.multirun)
    if given.repeat is not None:
        given.repeat.check_places(composed.request.config)
        composed = replace(composed, sweep=given.multirun, parameters=())
    if not composed.sweep and one != literal(given.overrides):
        return compose(given.overrides, given.config_dir)
    return composed


def _show(given: argparse.Namespace) -> int:
    """Show help or a configuration, as Hydra does."""
    from unlearnbench.request import shown
    from unlearnbench.request.compose import compose

    compose([] if given.hydra_help else given.overrides, given.config_dir)
    shown.by_hydra(_hydra_words(given))
    return DONE


def _single(composed: Composed, repeat: Repeat | None) -> int:
    from rich.console import Console

    from unlearnbench.results.table import show
    from unlearnbench.runs.launch import execute

    outcome = execute(composed.request)
    show(outcome.folder, reused=outcome.reused, console=Console())
    say_compared(repeat, outcome)
    return DONE if outcome.status in ("done", "skipped") else FAILED


def say_compared(repeat: Repeat | None, outcome: Outcome) -> None:
    """Log whether a run that was repeated gave the metrics that are stored."""
    for line in repeat.compared(outcome) if repeat is not None else ():
        logging.getLogger("unlearnbench").info("%s", line)


def _show_sweep(sweep: Sweep, folder: Path, code: int) -> int:
    if sweep.report is not None:
        from unlearnbench.report.terminal import show

        show(sweep.report, folder / "report")
    print(f"jobs: {folder / 'jobs.csv'}")
    if (page := folder / "report" / "report.html").exists():
        print(f"report: {page}")
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
