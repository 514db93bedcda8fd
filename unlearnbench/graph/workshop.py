"""What stages compute with: the results of other stages, and the few models that are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from unlearnbench.graph.artefact import Damaged, Stored
from unlearnbench.graph.cache import Cache
from unlearnbench.randomness import seeded

if TYPE_CHECKING:
    from torch import nn

    from unlearnbench.graph.stage import Model, Stage


T = TypeVar("T")


class Workshop:
    """One process's view of the cache, and its models: each is built once, and let go after its last reader."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._models: dict[str, nn.Module] = {}
        self._known: dict[tuple[str, ...], Any] = {}

    def artefact(self, stage: Stage) -> Stored:
        """Return a finished stage's artefact; raise Damaged where it is not there any more."""
        found = self.cache.read(stage.key)
        if found is None:
            raise Damaged(self.cache.folder / "stages" / stage.key, "it is not there")
        return found

    def model(self, model: Model) -> nn.Module:
        """Return a model in evaluation mode on the device; the same object at each call: copy it to change it.

        Building one draws from a random stream of its own: no result may depend on which models are in memory already.
        """
        if model.key not in self._models:
            with seeded("build", model.key):
                self._models[model.key] = model.build(self)
        return self._models[model.key]

    def take(self, model: Model) -> nn.Module:
        """Return a model that the caller may change: it is built again for the next one who asks."""
        found = self.model(model)
        del self._models[model.key]
        return found

    def drop(self, model: Model) -> None:
        """Let go of a model, if it is in memory."""
        self._models.pop(model.key, None)

    def put(self, key: str, model: nn.Module) -> None:
        """Keep a model that has just been computed: who needs it next need not read it back."""
        self._models[key] = model

    def keep(self, keys: Iterable[str]) -> None:
        """Let go of all models but these."""
        wanted = set(keys)
        for key in [key for key in self._models if key not in wanted]:
            del self._models[key]

    def once(self, names: tuple[str, ...], compute: Callable[[], T]) -> T:
        """Return what `compute` returns, or returned before in this process for these names: a small result."""
        if names not in self._known:
            self._known[names] = compute()
        return cast(T, self._known[names])

    def unfinished(self, stage: Stage) -> Path:
        """Return the folder where a stage may keep a state to resume from."""
        return self.cache.unfinished(stage.key)
