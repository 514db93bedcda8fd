"""Benches by their configuration: in one process each data set is loaded, and each task bound, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from unlearnbench.contracts import Data, Dataset, Index
from unlearnbench.errors import UserError
from unlearnbench.forget.manipulated import Manipulated
from unlearnbench.forget.splits import ForgetSet, requests
from unlearnbench.graph.keys import digest
from unlearnbench.stages.bench import Bench
from unlearnbench.tasks import bind, learns_words

if TYPE_CHECKING:
    from unlearnbench.experiment import Experiment


class Benches:
    """The benches of a process; `said` is what was logged of them, which the jobs of a sweep say only once."""

    def __init__(self) -> None:
        self.said: set[str] = set()
        self._data: dict[tuple[str, str], Data] = {}
        self._benches: dict[str, Bench] = {}
        self._rows: dict[tuple[str, int], Index] = {}
        self._manipulated: dict[tuple[str, int], Manipulated] = {}

    def of(self, experiment: Experiment) -> Bench:
        """Return the bench of an experiment; raise UserError where data or forget set cannot be used."""
        data = self._loaded(experiment.dataset, experiment.eval_held_out)
        device = experiment.precision.device
        limits = (experiment.eval_limit, experiment.eval_batch, experiment.eval_generate)
        known = self._known(experiment.forget, data)
        made = self._made(experiment.forget, data)
        key = digest(
            experiment.dataset, experiment.model, experiment.precision, device, experiment.deterministic, limits,
            experiment.eval_held_out, dict(experiment.extra), known, None if made is None else experiment.forget,
        )  # fmt: skip
        if key not in self._benches:
            used = data if made is None else made.data
            task = bind(
                used, known, experiment.dataset, experiment.precision, experiment.model,
                experiment.eval_batch, experiment.eval_generate,
            )  # fmt: skip
            bench = Bench(
                used, task, experiment.model, experiment.precision, experiment.deterministic, *limits, manipulated=made
            )
            self._benches[key] = self._with_extra(bench, experiment.extra)
        return self._benches[key]

    def _known(self, forget: ForgetSet, data: Data) -> Index | None:
        """Return the rows that a tokenizer of text may know, of a stream in every state of it; None for images."""
        if not learns_words(data.info):
            return None
        key = (digest(forget), id(data))
        if key not in self._rows:
            self._rows[key] = requests(forget, data)[-1].retain
        return self._rows[key]

    def _made(self, forget: ForgetSet, data: Data) -> Manipulated | None:
        """Return the data set as a forget set manipulates it; None for those that only choose rows."""
        make = getattr(forget, "manipulated", None)
        if make is None:
            return None
        key = (digest(forget), id(data))
        if key not in self._manipulated:
            self._manipulated[key] = make(data)
        return self._manipulated[key]

    def _with_extra(self, bench: Bench, extra: Mapping[str, Dataset]) -> Bench:
        return bench.on({name: self._loaded(dataset) for name, dataset in extra.items()}) if extra else bench

    def _loaded(self, dataset: Dataset, held_out: str = "test") -> Data:
        """Load a data set once; where the validation part is to be scored as test, return it so."""
        key = (digest(dataset), held_out)
        if key not in self._data:
            self._data[key] = dataset.load() if held_out == "test" else self._with_validation(dataset)
        return self._data[key]

    def _with_validation(self, dataset: Dataset) -> Data:
        data = self._loaded(dataset)
        if not len(data.validation):
            raise UserError(
                "eval.held_out=validation: this data set has no validation part to score.\n"
                "Try: eval.held_out=test, or dataset.validation=0.1 (images)"
            )
        return replace(data, test=data.validation)
