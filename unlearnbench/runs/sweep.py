"""Sweeps: the jobs that the words ask for, a row for what became of each, and a report at the end."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError, WrongKind
from unlearnbench.request.compose import Composed
from unlearnbench.request.jobs import composed, swept
from unlearnbench.request.once import Once
from unlearnbench.request.words import meant_as_one, refuse_several
from unlearnbench.runs import sweep_folder
from unlearnbench.runs.launch import Outcome, found, outcome

if TYPE_CHECKING:
    from unlearnbench.report import Report
    from unlearnbench.runs.job import RunJob

log = logging.getLogger("unlearnbench")

NEVER = "it never began"


class Sweep:
    """The jobs of a sweep: what each is called, and what became of it."""

    def __init__(
        self,
        words: Sequence[str],
        parameters: Sequence[str],
        folders: Sequence[Path],
        only: Collection[int] | None = None,
        planning: bool = False,
    ) -> None:
        """Compose and check every job, or those of the numbers in `only`; raise UserError for a mistake in any.

        With `planning`, nothing will run here: jobs that are done count too, and their device need not be here.

        A method that is made for another kind of data is no mistake here: its job becomes a skipped row.
        """
        refuse_several(words)
        self.words, self.parameters, self.folders = list(words), list(parameters), list(folders)
        self.by_number: dict[int, dict[str, Any]] = {}
        self.jobs: dict[int, RunJob] = {}
        self.report: Report | None = None
        self._once = Once()
        sweeps: dict[str, bool] = {}
        for number, one in composed(swept(words, parameters, folders), only):
            sweeps[one.request.name("experiment")] = bool(one.parameters)
            self.by_number[number] = _row(number, one)
            try:
                self._check(number, one, planning)
            except WrongKind as error:
                self._note(number, "skipped", str(error))
                log.info("will be skipped (%s): %s", " ".join(one.request.overrides), str(error).splitlines()[0])
            except UserError as error:
                raise UserError(f"{error}{meant_as_one(words)}") from error
        _refuse_sweeps_of_sweeps(sweeps)
        if all(row["status"] == "skipped" and not row["run_folder"] for row in self.rows):
            raise UserError(
                "no job of this sweep can run: each has a method, a model or an evaluation for another kind of data."
            )

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of jobs.csv."""
        return list(self.by_number.values())

    def _check(self, number: int, one: Composed, planning: bool) -> None:
        known = found(one.request, planning=planning, once=self._once)
        if isinstance(known, Outcome):
            self._done(number, known)
        else:
            self.jobs[number] = known

    def draw(self) -> list[RunJob]:
        """Load the data and lay out the stages of the jobs that are not done; return those that can be done."""
        return [job for _, job in self.drawn()]

    def drawn(self) -> Iterator[tuple[int, RunJob]]:
        """Draw one job after the other, and yield those that can be done with their numbers."""
        from unlearnbench.stages.benches import Benches

        benches = Benches()
        for number, job in list(self.jobs.items()):
            try:
                job.draw(benches)
            except UserError as error:
                self._note(number, "failed", str(error))
                if len(self.by_number) > 1:
                    log.error("job %d cannot run: %s", number, error)
                del self.jobs[number]
            else:
                yield number, job

    def collect(self, since: Path, reason: str = NEVER) -> None:
        """Note what became of each job: read from its folder, or `reason` if it wrote none after the file `since`."""
        for number, job in self.jobs.items():
            if self.by_number[number]["status"]:
                continue
            if job.status or job.is_done() or job.has_ended(since):
                self._done(number, outcome(job.final, reused=False))
            else:
                self._note(number, "failed", reason)

    def ended(self, number: int) -> dict[str, Any]:
        """Note what became of a job that has just ended, and return its row."""
        self.by_number[number] |= _row_of(outcome(self.jobs[number].final, reused=False))
        return self.by_number[number]

    def write_report(self, folder: Path) -> None:
        """Write the report into the sweep's folder, if a job left a run, and keep it for who shows it."""
        if any(row["run_folder"] for row in self.rows):
            from unlearnbench.report import make

            self.report = make([folder], folder / "report")

    def failed(self) -> bool:
        """Return whether any job failed or diverged, or there was none."""
        return not self.rows or any(row["status"] in ("failed", "diverged") for row in self.rows)

    def _done(self, number: int, known: Outcome) -> None:
        self.by_number[number] |= _row_of(known)
        log.info("job %d: %s %s", number, known.status, known.reason)

    def _note(self, number: int, status: str, reason: str) -> None:
        self.by_number[number] |= {"status": status, "reason": reason}


def _row_of(known: Outcome) -> dict[str, str]:
    """Return what jobs.csv says of a job that has ended."""
    return {"status": known.status, "reason": known.reason, "run_folder": str(known.folder.resolve())}


def _row(number: int, one: Composed) -> dict[str, Any]:
    """Return what jobs.csv says of a job before it is done."""
    request = one.request
    names = {group: request.name(group) for group in sweep_folder.NAMES}
    empty = {"run_folder": "", "status": "", "reason": ""}
    mine = {"model": request.model, "method": request.method, "seed": request.config.get("seed", 0)}
    return {"job": number, "overrides": " ".join(request.overrides), **empty, **names, **mine}


def _refuse_sweeps_of_sweeps(sweeps: Mapping[str, bool]) -> None:
    """Refuse to sweep over presets of which one is a sweep itself (by name): its jobs would be lost."""
    own = [name for name, is_sweep in sweeps.items() if is_sweep]
    if own and len(sweeps) > 1:
        raise UserError(f"experiment={own[0]} is a sweep of its own.\nTry: unlearnbench run experiment={own[0]}, alone")
