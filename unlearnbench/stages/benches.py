"""Benches by their configuration: in one process each data set is loaded, and each task bound, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from unlearnbench.contracts import Data, Dataset
from unlearnbench.errors import UserError
from unlearnbench.forget.splits import requests
from unlearnbench.graph.keys import digest
from unlearnbench.stages.bench import Bench
from unlearnbench.tasks import bind

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment


class Benches:
    """The benches of a process."""

    def __init__(self) -> None:
        self._data: dict[str, Data] = {}
        self._benches: dict[str, Bench] = {}

    def of(self, experiment: Experiment) -> Bench:
        """Return the bench of an experiment; raise UserError where data or forget set cannot be used."""
        data = self._loaded(experiment.dataset, experiment.eval_held_out)
        known = requests(experiment.forget, data)[-1].retain  # of a stream: what every model may know
        device = experiment.precision.device
        limits = (experiment.eval_limit, experiment.eval_batch, experiment.eval_generate)
        text = known if data.info.kind == "text" else None
        key = digest(
            experiment.dataset, experiment.model, experiment.precision, device, experiment.deterministic, limits,
            experiment.eval_held_out, dict(experiment.extra), text,
        )  # fmt: skip
        if key not in self._benches:
            task = bind(
                data, known, experiment.dataset, experiment.precision, experiment.model,
                experiment.eval_batch, experiment.eval_generate,
            )  # fmt: skip
            bench = Bench(data, task, experiment.model, experiment.precision, experiment.deterministic, *limits)
            self._benches[key] = self._with_extra(bench, experiment.extra)
        return self._benches[key]

    def _with_extra(self, bench: Bench, extra: Mapping[str, Dataset]) -> Bench:
        return bench.on({name: self._loaded(dataset) for name, dataset in extra.items()}) if extra else bench

    def _loaded(self, dataset: Dataset, held_out: str = "test") -> Data:
        """Load a data set once; where the validation part is to be scored as test, return it so."""
        key = digest(dataset)
        if key not in self._data:
            self._data[key] = dataset.load()
        data = self._data[key]
        if held_out == "validation" and not len(data.validation):
            raise UserError(
                "eval.held_out=validation: this data set has no validation part to score.\n"
                "Try: eval.held_out=test, or dataset.validation=0.1 (images)"
            )
        return cast(Data, replace(cast(Any, data), test=data.validation)) if held_out == "validation" else data
