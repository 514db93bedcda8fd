"""A training's state between two epochs, kept now and then, so that an interruption costs little."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unlearnbench.files import leftovers, publish
from unlearnbench.graph.artefact import Computed, Damaged, read_artefact, write_artefact
from unlearnbench.machine.cost import Spent
from unlearnbench.machine.memory import peak_mib
from unlearnbench.models import weights
from unlearnbench.stages.resumable import check, named, plain
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper

log = logging.getLogger("unlearnbench")

EVERY_SECONDS = 60.0


class Resumable:
    """Keeps one training's latest state in a folder, at most every `EVERY_SECONDS`.

    It is made when the training's stage begins: the state holds the seconds since then, and before it was resumed.
    `circumstances` are this process's.
    """

    def __init__(
        self, folder: Path, every_seconds: float = EVERY_SECONDS, circumstances: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.every_seconds = every_seconds
        self.circumstances = circumstances
        self.last = time.monotonic()
        self.started = time.perf_counter()

    def save(self, stepper: Stepper, record: Record, epoch: int) -> None:
        """Keep the state after `epoch` epochs, where the last one kept is old enough."""
        if time.monotonic() - self.last < self.every_seconds:
            return
        tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in weights.state_of(stepper.model).items()}
        optimizer = stepper.optimizer.state_dict()
        for number, state in optimizer["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in named(state).items()}
        facts = {
            "epoch": epoch,
            "steps": stepper.steps,
            "stateful": sorted(number for number, state in optimizer["state"].items() if named(state)),
            "curve": record.curve,
            "examples": record.examples,
            "validation_seconds": record.validation_seconds,
            "spent": self._spent(record.earlier),
            "groups": [{**group, "params": group["params"]} for group in optimizer["param_groups"]],
            "scheduler": plain(stepper.scheduler.state_dict()) if stepper.scheduler else None,
        }
        with leftovers.part(self.folder.parent) as fresh:
            write_artefact(fresh, Computed(tensors, facts))
            publish.instead(fresh, self.folder)
        self.last = time.monotonic()

    def resume(self, stepper: Stepper, record: Record) -> int:
        """Restore the kept state where there is a sound one; return the number of epochs that are done."""
        if not self.folder.exists():
            return 0
        try:
            found = read_artefact(self.folder)
            kept = Computed(found.tensors, found.facts)
            check(kept, stepper, self.circumstances)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, Damaged) as error:
            log.warning("the state of an interrupted training is damaged (%s); starting it again", error)
            leftovers.remove(self.folder)
            return 0
        weights.restore(stepper.model, _under("model.", kept.tensors))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", kept.tensors).items():
            number, _, key = name.partition(".")
            state.setdefault(int(number), {})[key] = value
        stepper.optimizer.load_state_dict({"state": state, "param_groups": kept.facts["groups"]})
        _lay_out(stepper.optimizer)
        if stepper.scheduler:
            stepper.scheduler.load_state_dict({**stepper.scheduler.state_dict(), **kept.facts["scheduler"]})
        stepper.steps = kept.facts["steps"]
        record.curve[:] = kept.facts["curve"]
        record.examples = kept.facts["examples"]
        record.validation_seconds = kept.facts["validation_seconds"]
        record.earlier = Spent(**{**kept.facts["spent"], "circumstances": tuple(kept.facts["spent"]["circumstances"])})
        log.info("resuming after epoch %d", kept.facts["epoch"])
        return int(kept.facts["epoch"])

    def _spent(self, earlier: Spent) -> dict[str, Any]:
        """Return what was spent until now, as JSON."""
        return {
            "seconds": earlier.seconds + time.perf_counter() - self.started,
            "peak_mib": max(earlier.peak_mib, peak_mib((self.circumstances or {}).get("device", "cpu"))),
            "circumstances": [*earlier.circumstances, *([self.circumstances] if self.circumstances else [])],
        }


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay the optimiser's tensors out in memory as its weights are: in another order sums end in other digits."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _under(prefix: str, tensors: Any) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
