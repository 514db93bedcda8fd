"""unlearnbench work: what a worker runs."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.commands.parser import Parser, add_sources, log_to_terminal, use_sources
from unlearnbench.errors import DONE, FAILED, UserError


def main(words: list[str]) -> int:
    """Do a plan, or a chunk of it; return the exit code."""
    parser = Parser(
        "unlearnbench work", description="Compute what is missing of a plan. Several workers can share one plan."
    )
    parser.add_argument("plan", type=Path, metavar="PLAN", help="the plan.jsonl of a sweep")
    parser.add_argument("--chunk", type=int, metavar="NUMBER", help="compute only this chunk of the plan")
    parser.add_argument("--report", action="store_true", help="compute nothing; write the finished runs and the report")
    add_sources(parser)
    given = parser.parse_args(words)
    use_sources(given)
    log_to_terminal()
    from unlearnbench.runs import plan
    from unlearnbench.runs.launch import torch_explained

    with torch_explained():
        from unlearnbench.runs.work import report, work

    read = plan.read(given.plan)
    if given.chunk is not None and not 0 <= given.chunk < len(read.chunks):
        raise UserError(f"--chunk {given.chunk}: the plan has {len(read.chunks)} chunks, counted from 0.")
    if given.report:
        return FAILED if report(read, given.plan.parent) else DONE
    return FAILED if work(read, given.plan.parent, given.chunk) else DONE
