"""unlearnbench plan: what a run or sweep would compute."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.commands.parser import Parser, add_from, add_sources, log_to_terminal, repeated, use_sources
from unlearnbench.errors import DONE, FAILED, UserError, counted

if TYPE_CHECKING:
    from unlearnbench.runs.plan import Entry, Plan
    from unlearnbench.runs.sweep import Sweep


def main(words: list[str]) -> int:
    """Show the stages by level: how many there are, how many are missing, and how long those should take."""
    parser = Parser("unlearnbench plan", description="Show what a run or sweep would compute, and compute nothing.")
    parser.add_argument("overrides", nargs="*", metavar="WORD", help="the words of a run")
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep over comma-separated values, as for run")
    parser.add_argument(
        "--export",
        choices=("sbatch", "snakemake", "kubernetes"),
        help="print the plan as a file for that program (needs --to)",
    )
    parser.add_argument("--to", type=Path, metavar="FILE", help="write the plan into this file, one stage per line")
    add_sources(parser)
    add_from(parser)
    given = parser.words(words)
    use_sources(given)
    log_to_terminal()
    repeated(given)
    from unlearnbench.commands.run import composed_line
    from unlearnbench.request.compose import scaled
    from unlearnbench.runs.launch import torch_explained

    given.overrides = scaled(given.overrides, given.config_dir)
    composed = composed_line(given)
    with torch_explained():
        from unlearnbench.runs.plan import with_stages
        from unlearnbench.runs.sweep import Sweep

    sweep = Sweep(given.overrides, composed.parameters, given.config_dir, planning=True)
    plan = with_stages(sweep, composed.request.outputs)
    if not plan.entries and (wrong := [row["reason"] for row in sweep.rows if row["status"] == "failed"]):
        raise UserError(wrong[0])
    if given.to:
        plan.write(given.to)
    if given.export:
        print(_exported(plan, given, composed.request.config["runner"], sweep), end="")
        return DONE
    _show(plan, jobs=len(sweep.rows))
    return FAILED if sweep.failed() else DONE


def _exported(plan: Plan, given: argparse.Namespace, runner: dict[str, Any], sweep: Sweep) -> str:
    """Return the plan as a file for another program; it is written to --to, which the commands in it read."""
    from unlearnbench.request.config import build
    from unlearnbench.runners.export import export
    from unlearnbench.runners.slurm import Slurm
    from unlearnbench.runs.workers import levels, needs_gpu

    settings = build(runner, "runner")
    if not isinstance(settings, Slurm) or given.to is None:
        raise UserError(
            f"--export needs the settings of a cluster, and a plan to read.\nTry: --export {given.export} "
            "runner=slurm --to plan.jsonl"
        )
    gpus = settings.gpus if needs_gpu(sweep) else 0
    return export(levels(plan, given.to, given.config_dir, gpus), settings, given.export)


def _show(plan: Plan, jobs: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("level", "kind", "stages", "missing", "seconds"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    groups: dict[tuple[int, str], list[Entry]] = {}
    for one in plan.entries:
        groups.setdefault((one.level, one.kind), []).append(one)
    for (level, kind), entries in sorted(groups.items()):
        missing = [one for one in entries if not one.present]
        table.add_row(str(level), kind, str(len(entries)), str(len(missing)), _seconds(missing))
    console = Console()
    console.print(table)
    missing = [one for one in plan.entries if not one.present]
    if plan.rows:
        console.print("rows of the first job: " + ", ".join(f"{name} {count}" for name, count in plan.rows.items()))
    found = f"{counted(jobs, 'job')}, {counted(len(plan.entries), 'stage')}"
    console.print(f"{found}, {len(missing)} missing; seconds: {_seconds(missing)}")
    if plan.choosing:
        console.print(
            f"These choose the forget set of {counted(plan.choosing, 'job')}: what is trained and unlearned then is "
            "known, and shown here, once they are done. `unlearnbench run` does both."
        )


def _seconds(missing: list[Entry]) -> str:
    """Return the estimated seconds of the missing stages, and of how many nothing is known."""
    known = sum(one.seconds for one in missing if one.seconds is not None)
    unknown = Counter(one.seconds is None for one in missing)[True]
    return f"{known:.0f}" + (f" and {unknown} unknown" if unknown else "")
