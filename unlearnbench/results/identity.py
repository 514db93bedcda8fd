"""A run's key and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.graph.keys import digest
from unlearnbench.request.compose import Request
from unlearnbench.request.refusals import refuse_names

if TYPE_CHECKING:
    from unlearnbench.assemble import Assembled


@dataclass(frozen=True)
class Identity:
    """A run's key and names: what its rows and its folder are called."""

    run_id: str
    experiment: str
    dataset: str
    forget: str
    model: str
    method: str
    seed: int

    @property
    def folder(self) -> str:
        """The folder's name below outputs/runs; raise UserError where it would be a path."""
        method = self.method.replace(":", "_")  # external:NAME
        refuse_names({"method": method, "model": self.model, "dataset": self.dataset, "run": self.run_id})
        return f"{method}_{self.model}_{self.dataset}_{self.run_id}"


def identify(request: Request, assembled: Assembled, source: Mapping[str, str]) -> Identity:
    """Name a run by what decides its result: the typed experiment and the source of its stages."""
    experiment, forget = assembled.experiment, type(assembled.experiment.forget).__name__
    settings = {name: value for name, value in vars(experiment).items() if name != "forget"}
    names = (request.name("experiment"), request.method, request.model, forget, assembled.forget)
    key = digest(settings, names, dict(source))
    return Identity(
        run_id=key[:8],
        experiment=request.name("experiment"),
        dataset=request.name("dataset"),
        forget=assembled.forget,
        model=request.model,
        method=request.method,
        seed=assembled.experiment.seed,
    )


def settings(assembled: Assembled) -> dict[str, int | str | dict[str, str]]:
    """Return digests of 8 digits that do not know the seed: runs with equal ones repeat each other; and the draw.

    `setting` is of all that decides the original and its references, `method_setting` of the method. How many
    references there are, and on which device, changes neither. `evaluation_settings` are by the evaluation's name.
    `draw` is the forget set's own seed, 0 where it has none. No digest knows it, so that a report can join the draws
    of one kind of forget set.
    """
    experiment = assembled.experiment
    seeds = ("seed", "unlearn_seed", "eval_seed")
    outside = (*seeds, "method", "forget", "references", "evaluations", "precision", "deterministic")
    shared = {name: value for name, value in vars(experiment).items() if name not in outside}
    draw = _draw(experiment.forget, assembled.forget)
    forget = (type(experiment.forget).__name__, assembled.forget.removesuffix(f"@{draw}" if draw else ""))
    return {
        "draw": draw,
        "setting": digest(shared, forget, experiment.precision.bf16)[:8],
        "method_setting": digest(type(experiment.method).__module__, experiment.method)[:8],
        "evaluation_settings": {name: digest(one)[:8] for name, one in experiment.evaluations.items()},
    }


def _draw(forget: object, label: str) -> int:
    """Return the seed that a forget set was drawn with, where its label says so; else 0."""
    seed = getattr(forget, "seed", 0)
    return int(seed) if seed and label.endswith(f"@{seed}") else 0
