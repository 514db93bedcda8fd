"""What comes before the graph of a run whose forget set trained models choose: their stages, and then its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from unlearnbench.contracts import Index
from unlearnbench.experiment import Experiment, original_of
from unlearnbench.forget.staged import Staged, decided, nothing, staged
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.stages.benches import Benches
from unlearnbench.stages.world import World


@dataclass(frozen=True, eq=False)
class Choice:
    """A forget set that trained models choose, with the stages that it is chosen from."""

    forget: Staged
    world: World
    stages: Mapping[str, Stage]

    def rows(self, workshop: Workshop) -> Index:
        """Return the rows that follow from the stages' results."""
        return self.forget.choose(self.world, {name: workshop.artefact(one) for name, one in self.stages.items()})


def choices(experiment: Experiment, benches: Benches) -> tuple[Choice, ...]:
    """Return what has to be chosen before the graph can be laid out: nothing, of most forget sets."""
    return tuple(_choices(experiment, benches))


def _choices(experiment: Experiment, benches: Benches) -> Iterator[Choice]:
    several = staged(experiment.forget)
    if not several:
        return
    before = nothing(experiment.forget)
    bench = benches.of(replace(experiment, forget=before))
    splits = bench.requests(before)[0]
    for forget in several:
        world = World(bench, splits, forget.seed, forget.seed, forget.seed)
        yield Choice(forget, world, forget.stages(original_of(world, experiment.recipe), world))


def chosen(experiment: Experiment, made: Sequence[Choice], workshop: Workshop) -> Experiment:
    """Return the experiment with the rows that were chosen; every stage of `made` is done."""
    if not made:
        return experiment
    rows = {id(choice.forget): choice.rows(workshop) for choice in made}
    return replace(experiment, forget=decided(experiment.forget, lambda forget: rows[id(forget)]))
