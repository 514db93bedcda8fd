"""Models as artefacts: what is kept of one, and how it is built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import provenance
from unlearnbench.machine.bars import Progress, bar
from unlearnbench.models import weights
from unlearnbench.models.four_bit import copied
from unlearnbench.models.start import is_four_bit, started, trainable
from unlearnbench.training.record import Record

if TYPE_CHECKING:
    from unlearnbench.stages.bench import Bench


@dataclass(frozen=True, eq=False)
class Made:
    """What a stage made: a model, how its training went, and whether its adapter, if any, was trained on the parent's
    weights. `changed` says whether the weights differ from the original's. Weights that are `outside` are not kept.
    """

    model: nn.Module
    record: Record
    on_parent: bool = True
    changed: bool = True
    outside: bool = False


def kept(stage: Stage, bench: Bench, workshop: Workshop, make: Callable[[Progress], Made]) -> Artefact:
    """Make a model; return what is kept of it: an adapter apart from the weights beneath it, or all weights."""
    here = provenance.circumstances(bench.precision)
    with bar(stage.label.replace("_", " ")) as progress:
        made = make(progress)
    state, model, is_adapter = taken(made)
    workshop.put(stage.key, model)
    facts = {
        "curve": made.record.curve,
        "tables": made.record.tables,
        "examples": made.record.examples,
        "adapter": is_adapter,
        "weights_changed": made.changed,
        **_spent(made.record, here),
    }
    return Computed(state, facts)


def taken(made: Made) -> tuple[dict[str, Tensor], nn.Module, bool]:
    """Return what is to be kept of a model, the model in evaluation mode, and whether its adapter alone is kept."""
    is_adapter = made.on_parent and weights.has_adapter(made.model)
    state = weights.state_of(made.model) if is_adapter else {}
    model = weights.merged(made.model).eval()
    return state or ({} if made.outside else weights.state_of(model)), model, is_adapter


def built(artefact: Artefact, bench: Bench, parent: Callable[[], nn.Module] | None = None) -> nn.Module:
    """Build the model that an artefact holds: an adapter is merged into the parent, or into the pretrained model."""
    spec, info, task = bench.spec, bench.info, bench.task
    if artefact.facts.get("adapter"):
        beneath = started(spec, info) if parent is None else copied(parent())
        model = weights.restore(trainable(spec, task.prepare(beneath)), artefact.tensors)
        return weights.merged(model).eval()
    beneath = started(spec, info) if is_four_bit(spec) else spec.build(info)
    return task.prepare(weights.restore(beneath, artefact.tensors)).eval()


def _spent(record: Record, here: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a stage's seconds came about: in which circumstances, what was validation or preparation."""
    return {
        "validation_seconds": record.validation_seconds,
        "preparation_seconds": record.preparation_seconds,
        "earlier_seconds": record.earlier.seconds,
        "earlier_peak_mib": record.earlier.peak_mib,
        "circumstances": [*record.earlier.circumstances, here],
    }
