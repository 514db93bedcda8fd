"""How far each row's features are from the centroid of all, in what the original's classifier gets to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearnbench.contracts import Index
from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.workshop import Workshop
from unlearnbench.models.modes import evaluating
from unlearnbench.stages.of_model import OfModel


@dataclass(frozen=True, eq=False)
class Distances(OfModel):
    """The distance of each of the rows at `index` from their common centroid, in the features of a model."""

    index: Index
    kind: ClassVar[str] = "distances"

    @property
    def label(self) -> str:
        """What is computed, and for which model."""
        return f"distances of {self.model.role}'s features"

    @property
    def settings(self) -> tuple[object, ...]:
        """Model, task, the rows and how many at once."""
        bench = self.bench
        return (self.model.key, bench.print(self.index), bench.setting, bench.batch)

    def compute(self, workshop: Workshop) -> Artefact:
        """Return `distance`, (n,) float64."""
        model, size = workshop.model(self.model), self.bench.batch
        with evaluating(model), torch.inference_mode():
            starts = range(0, len(self.index), size)
            features = torch.cat([self._features(model, self.index[start : start + size]) for start in starts])
        return Computed({"distance": (features - features.mean(dim=0)).norm(dim=1)}, {"width": features.shape[1]})

    def _features(self, model: nn.Module, index: Index) -> Tensor:
        """Return the mean features of each example's rows, (n, d) float64 on the CPU."""
        predictions, rows = self.bench.task.features(model, self.bench.task.batch(index, None))
        rows, example = rows.double().cpu(), predictions.example.cpu()
        known = example < predictions.examples
        rows, example = rows[known], example[known]
        total = rows.new_zeros(predictions.examples, rows.shape[1]).index_add(0, example, rows)
        return total / torch.bincount(example, minlength=predictions.examples)[:, None]
