"""`unlearnbench.run` and `unlearnbench.load`: what the commands do, from Python."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.errors import UserError

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from unlearnbench.runs.launch import Outcome
    from unlearnbench.runs.sweep import Sweep


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a run or a sweep.

    `status` is done, skipped, diverged or failed, of a sweep with workers elsewhere submitted; `reason` says why it is
    not done. `reused` says that the run was there before. `runs` are the runs of a sweep that left a folder, in the
    order of its jobs.csv; a single run has none.
    """

    folder: Path
    status: str
    reason: str = ""
    reused: bool = False
    runs: tuple[Result, ...] = ()

    @cached_property
    def metrics(self) -> pandas.DataFrame:
        """The rows of metrics.csv, read when first asked for; of a sweep, those of all its finished runs."""
        import pandas

        from unlearnbench.results.rows import COLUMNS, read_metrics

        if self._is_sweep:
            tables = [one.metrics for one in self.runs if one.status == "done"]
            return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=list(COLUMNS))
        if self.status != "done":
            raise UserError(f"the run in {self.folder} has no metrics: it is {self.status} ({self.reason})")
        return read_metrics(self.folder)

    def load(self) -> nn.Module:
        """Return the unlearned model, in evaluation mode on the CPU; raise UserError if the run kept none."""
        if self._is_sweep:
            raise UserError(
                "a sweep has a model per run, which it keeps with save_model=true.\nTry: result.runs[0].load()"
            )
        return load(self.folder)

    @property
    def _is_sweep(self) -> bool:
        return not (self.folder / "result.json").exists()


def run(
    words: str | Sequence[str] = (),
    *,
    plugins: Iterable[str | Path] = (),
    config_dirs: Iterable[str | Path] = (),
    from_: str | Path | None = None,
) -> Result:
    """Do what `unlearnbench run WORDS` does, and return what became of it.

    `words` are those of the command line, as a list or as one text; with "-m" among them, or a preset that is a sweep,
    they are a sweep. `plugins` are Python files to trust, `config_dirs` folders with further configuration, as with
    --plugin and --config-dir. `from_` is the folder of a run to repeat, as with --from; the words then change it.

    A finished run is read, not repeated. Raises UserError for a mistake in the words and where the method cannot run
    here, and the run's own exception where a single run fails. A failed job of a sweep is one of `runs`.
    """
    from unlearnbench.commands import run as command

    typed = shlex.split(words) if isinstance(words, str) else list(words)
    typed += [part for file in plugins for part in ("--plugin", str(file))]
    typed += [part for folder in config_dirs for part in ("--config-dir", str(folder))]
    typed += ["--from", str(from_)] if from_ is not None else []
    given = command.parsed(typed)
    if command.only_shows(given):
        raise UserError("--help, --cfg and --info show something on a terminal.\nTry: unlearnbench run --cfg job")
    composed = command.composed_for(given)
    if composed.sweep:
        sweep, folder, code = command.swept(given, composed)
        return _sweep_result(sweep, folder, code)
    from unlearnbench.runs.launch import single

    outcome = single(composed.request)
    command.say_compared(given.repeat, outcome)
    return _result(outcome)


def load(folder: str | Path) -> nn.Module:
    """Return the unlearned model of a run folder, in evaluation mode on the CPU.

    Raises UserError if the run kept no model (save_model=true keeps it).
    """
    from unlearnbench.results.model import load_model

    return load_model(Path(folder))


def _result(outcome: Outcome) -> Result:
    """Return an outcome with its folder's absolute path: the caller may change the working folder."""
    return Result(folder=outcome.folder.absolute(), status=outcome.status, reason=outcome.reason, reused=outcome.reused)


def _sweep_result(sweep: Sweep, folder: Path, code: int) -> Result:
    """Return what became of a sweep and of those of its jobs that left a folder."""
    from unlearnbench.runs.launch import outcome

    runs = tuple(
        _result(outcome(Path(job["run_folder"]), reused=job["job"] not in sweep.jobs))
        for job in sweep.rows
        if job["run_folder"]
    )
    rest = [job for job in sweep.rows if job["status"] not in ("done", "skipped")]
    status, reason = "submitted" if rest else "done", ""
    if code:
        status = "failed"
        reason = f"{len(rest)} of {len(sweep.rows)} jobs failed; {rest[0]['overrides']}: {rest[0]['reason']}"
    return Result(folder=folder.absolute(), status=status, reason=reason, runs=runs)
