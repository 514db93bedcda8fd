"""How late each training row is learned: the original's training once more, with all rows scored after each epoch.

Jiang, Zhang, Talwar, Mozer: Characterizing Structural Regularities of Labeled Data in Overparameterized Models, ICML
2021, arXiv:2002.03206: accuracy and confidence over the epochs of one training stand for memorisation. RUM (Zhao et
al., NeurIPS 2024, arXiv:2406.01257) takes these from its learning_events.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from unlearnbench.graph.artefact import Artefact, Computed
from unlearnbench.graph.stage import Stage
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine.bars import bar
from unlearnbench.models.start import started, trainable
from unlearnbench.randomness import seeded, stage_seed
from unlearnbench.stages.train import Train
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record
from unlearnbench.training.stepper import Stepper


@dataclass(frozen=True, eq=False)
class LearningEvents(Stage):
    """The training of `original` once more; how right and how sure it is of each row after each epoch is kept.

    It costs that training and a scoring of all training rows an epoch. The weights are not kept.
    """

    original: Train
    kind: ClassVar[str] = "events"

    @property
    def label(self) -> str:
        """What it is."""
        return "learning events"

    @property
    def settings(self) -> tuple[object, ...]:
        """Those of the training, and how its rows are scored."""
        return (*self.original.settings, self.original.bench.scoring)

    @property
    def modules(self) -> tuple[str, ...]:
        """This module, the task's and the model's."""
        return (__name__, *self.original.bench.modules)

    def compute(self, workshop: Workshop) -> Artefact:
        """Train; return `right` and `confidence`, (epochs, n) float64 each, of the training rows in their order."""
        one, bench, record = self.original, self.original.bench, Record()
        seed = stage_seed(*one.names)
        right, confidence = [], []

        def note(stepper: Stepper, _record: Record, _epochs: int) -> None:
            scores = bench.task.score(stepper.model, one.index)
            right.append(scores.right[1].astype(np.float64))
            confidence.append(np.exp(-scores.loss))

        with seeded(seed), bar(self.label) as progress:
            model = trainable(bench.spec, bench.task.prepare(started(bench.spec, bench.info)))
            fit(
                model, bench.task, one.index, one.validation, one.recipe,
                seed=seed, record=record, progress=progress, save=note,
            )  # fmt: skip
        kept = {"right": np.stack(right), "confidence": np.stack(confidence)}
        return Computed({name: torch.from_numpy(rows) for name, rows in kept.items()}, {"curve": record.curve})
