"""Networks that know nothing of the data: built from a seed when they are asked for, and never kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from unlearnbench.graph.keys import digest
from unlearnbench.graph.sources import source_digest
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.start import incompetent, knows_language
from unlearnbench.randomness import seeded

if TYPE_CHECKING:
    from unlearnbench.contracts import ModelSpec
    from unlearnbench.stages.bench import Bench

NETWORKS = 3
"""Random networks that ZRF averages over."""


@dataclass(frozen=True, eq=False)
class Incompetent:
    """A network with random weights, or a language model before its fine-tuning."""

    bench: Bench
    seed: int
    number: int

    @property
    def role(self) -> str:
        """Its name and number."""
        return f"incompetent_{self.number}"

    @property
    def inputs(self) -> tuple[Stage, ...]:
        """Nothing."""
        return ()

    @cached_property
    def key(self) -> str:
        """What decides its weights."""
        bench = self.bench
        return digest(
            "incompetent", self._names, bench.setting, len(bench.info.classes),
            source_digest((__name__, *bench.modules)),
        )  # fmt: skip

    @property
    def _names(self) -> tuple[str | int, ...]:
        return (self.seed, "incompetent", self.number)

    def build(self, workshop: Workshop) -> nn.Module:
        """Build the network."""
        bench = self.bench
        with seeded(*self._names):
            return bench.task.prepare(incompetent(bench.spec, bench.info)).eval()


def incompetents(bench: Bench, seed: int) -> tuple[Incompetent, ...]:
    """Return the networks that ZRF compares with: three random ones, or the one pretrained model of text."""
    return tuple(Incompetent(bench, seed, number) for number in range(networks(bench.spec)))


def networks(spec: ModelSpec) -> int:
    """Return how many networks ZRF compares with."""
    return 1 if knows_language(spec) else NETWORKS
