"""What the stages of a run compute on: one loaded data set, bound once to a model's configuration and a precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from unlearnbench.contracts import Data, DataInfo, Index, ModelSpec
from unlearnbench.forget.manipulated import Manipulated
from unlearnbench.forget.splits import ForgetSet, Splits, requests
from unlearnbench.graph.keys import describe, digest
from unlearnbench.machine.precision import Precision
from unlearnbench.models.start import as_retrained
from unlearnbench.request import plugins
from unlearnbench.task import Task

T = TypeVar("T")

DETERMINISM = "unlearnbench.machine.determinism"
"""The module that sets torch's own switches for every stage."""


@dataclass(frozen=True, eq=False)
class Bench:
    """Data, model configuration and number format, bound to a task. All worlds of a run share it.

    `limit`, `batch` and `generate` are how many examples of a split are scored, how many at once, and how many
    answers are written out. Where training rows were manipulated, `data` has them so, and `manipulated` says how.
    """

    data: Data
    task: Task
    spec: ModelSpec
    precision: Precision
    deterministic: bool
    limit: int | None
    batch: int
    generate: int
    extra: Mapping[str, Bench] = field(default_factory=dict)
    manipulated: Manipulated | None = None
    _prints: dict[bytes, str] = field(default_factory=dict)
    _memo: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` returns, made once for this bench."""
        if name not in self._memo:
            self._memo[name] = make()
        return cast(T, self._memo[name])

    @property
    def info(self) -> DataInfo:
        """What is known of the data set."""
        return self.data.info

    @property
    def clean(self) -> Data:
        """The data set as it was before rows were manipulated: forget sets are chosen from it."""
        return self.data if self.manipulated is None else self.manipulated.clean

    @property
    def setting(self) -> str:
        """A digest of what decides every stage's result: model, task, number format, the code of a model's plugin."""
        numbers = (self.precision.bf16, self.precision.channels_last, self.deterministic)
        return self.once(
            "setting",
            lambda: digest(as_retrained(self.spec), self.task.settings(), numbers, self.plugin_of(self.spec)),
        )

    @property
    def scoring(self) -> tuple[int, int, int]:
        """What decides a scoring: the batch, the answers that are written out, and the tokens of the longest one."""
        longest = self.once("longest", lambda: self.task.longest_answer if self.generate else 0)
        return self.batch, self.generate if longest else 0, longest

    @property
    def unwritten(self) -> Bench:
        """The bench without written answers, for scores of which only the numbers are used."""
        task: Any = copy.copy(self.task)
        task.generate = 0
        return replace(self, task=task, generate=0, _memo={})

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that define the task and the model, and how torch computes."""
        return (type(self.task).__module__, type(self.spec).__module__, DETERMINISM)

    def plugin_of(self, part: object) -> object:
        """Return the digests of the plugin's files that define a part of the experiment; of ours, nothing."""
        module = type(part).__module__
        return self.once(f"plugin {module}", lambda: describe(plugins.code_of(module)))

    def requests(self, forget: ForgetSet) -> tuple[Splits, ...]:
        """Return the splits of each request to forget; those of equal forget sets are the same objects."""
        return self.once(f"requests {digest(forget)}", lambda: requests(forget, self.clean))

    def print(self, index: Index) -> str:
        """Return a digest of the examples at these positions as the task reads them."""
        name = index.tobytes()
        if name not in self._prints:
            self._prints[name] = digest(self.data.fingerprint(index), self.task.shortened(index))
        return self._prints[name]

    def on(self, data: Mapping[str, Data]) -> Bench:
        """Return this bench with further evaluation sets of text; raise UserError for what cannot be encoded."""
        return replace(self, extra={name: self.beside(one) for name, one in data.items()})

    def beside(self, data: Data) -> Bench:
        """Return a bench for the same model on another data set, without written answers."""
        return replace(
            self, data=data, task=self.task.on(data), generate=0, extra={}, manipulated=None, _prints={}, _memo={}
        )

    def probe(self) -> Bench:
        """Return the bench that shows what is left of a manipulation, made once."""
        assert self.manipulated is not None
        shown = self.manipulated.probe
        return self.once("probe", lambda: self.beside(shown))
