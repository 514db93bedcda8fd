"""Progress of a run: a bar for each stage."""

from __future__ import annotations

from unlearnbench.machine.bars import Progress as Progress
from unlearnbench.machine.bars import Quiet as Quiet
from unlearnbench.machine.bars import bar as stage_progress

__all__ = ["Progress", "Quiet", "stage_progress"]
