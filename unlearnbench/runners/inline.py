"""The runner that computes everything in this process, one stage after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unlearnbench.runners.runner import Work


@dataclass(frozen=True, kw_only=True)
class Inline:
    """Settings of runner=inline: none."""

    away: ClassVar[bool] = False
    alone: ClassVar[bool] = True

    def do(self, work: Work) -> None:
        """Do the jobs here; return when all have ended."""
        jobs = work.jobs()
        from unlearnbench.runners.execute import execute

        execute(jobs, work.cache, work.claims, ended=work.ended)
