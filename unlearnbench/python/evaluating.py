"""`unlearnbench.evaluate`: the metrics of a run, for models and data in hand."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from unlearnbench.contracts import Parts
from unlearnbench.errors import UserError
from unlearnbench.evidence import BySplit, Scores
from unlearnbench.machine import determinism
from unlearnbench.machine.precision import Choice
from unlearnbench.metrics import Metric, catalogue
from unlearnbench.metrics.measure import measure
from unlearnbench.metrics.unreferenced import unreferenced
from unlearnbench.models.ensemble import members
from unlearnbench.models.start import incompetent, is_language
from unlearnbench.models.wrapper import inner
from unlearnbench.python.binding import bind
from unlearnbench.python.bound import Bound, Examples, Fresh, Normalise, Options
from unlearnbench.python.models import plain, single
from unlearnbench.python.settings import check_values, python_words
from unlearnbench.randomness import seeded
from unlearnbench.stages.incompetent import networks

if TYPE_CHECKING:
    import pandas
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("unlearnbench")

COLUMNS = ("role", "split", "metric", "value")
OF_ORIGINAL = ("aus",)
"""Metrics that compare with the original."""
OF_INCOMPETENT = ("zrf", "zrf_published")
"""Metrics that compare with networks that know nothing."""


def evaluate(
    unlearned: nn.Module,
    retain: Examples,
    forget: Examples,
    test: Examples,
    original: nn.Module | None = None,
    retrained: nn.Module | Sequence[nn.Module] = (),
    *,
    whole_class: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
    normalise: Normalise | None = None,
    parts: Parts | Mapping[str, Any] | None = None,
    fresh: Fresh | None = None,
    context: int | None = None,
    too_long: Literal["cut", "refuse"] = "cut",
    generate: int = 24,
    device: str = "auto",
    precision: Choice = "auto",
    deterministic: bool = False,
    seed: int = 0,
) -> pandas.DataFrame:
    """Return the rows that a run writes to metrics.csv: role, split, metric, value.

    Examples and models are as for `unlearn`, and no model is changed. `retrained` is a model, or several, trained
    without the forget examples: gaps need one, the noise floor needs two. Without one, changes are to the original and
    to the test examples, as with reference.count=0, and nothing is said of retraining.
    Without `original`, its rows and `aus` are left out. `whole_class` says that the forget examples are all of their
    classes: the test examples are then also scored by part, as test_forget and test_retain.

    `fresh` returns the model as it was before training; zrf compares with that, for images by itself where the layers
    can be reset. `generate` is how many answers per split a language model writes. `seed` is that of attacks.
    """
    with python_words():
        check_values(
            precision=precision,
            deterministic=deterministic,
            too_long=too_long,
            context=context,
            generate=generate,
            seed=seed,
        )
        others = (retrained,) if isinstance(retrained, nn.Module) else tuple(retrained)
        options = Options(
            device=device, precision=precision, tokenizer=tokenizer, normalise=normalise, parts=parts, fresh=fresh,
            context=context, too_long=too_long, generate=generate,
        )  # fmt: skip
        bound = bind(plain(members(inner(unlearned))[0]), {"retain": retain, "forget": forget, "test": test}, options)
        if missing := [name for name in ("retain", "forget", "test") if name not in bound.splits]:
            raise UserError(f"{missing[0]} is None, and the metrics need it.")
    splits = {**bound.splits, **_parts(bound, whole_class)}
    with determinism.computing(bound.precision.device, deterministic=deterministic):
        models = {"original": original, "unlearned": unlearned}
        scores = {role: _scored(bound, one, splits) for role, one in models.items() if one is not None}
        references = tuple(_scored(bound, one, splits) for one in others)
        networks = tuple(_incompetent(bound, splits, options, seed))
    before, after = scores.get("original", scores["unlearned"]), scores["unlearned"]
    metrics = _metrics(original is not None, bool(networks))
    rows = measure(before, references, after, networks, whole_class, seed, metrics)
    if not references and original is not None:
        rows += list(unreferenced(rows, before, after, whole_class, seed, metrics))
    return _table([row for row in rows if row.role != "original" or original is not None])


def _table(rows: Sequence[Any]) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame([(row.role, row.split, row.metric, row.value) for row in rows], columns=list(COLUMNS))


def _metrics(original: bool, incompetent: bool) -> tuple[Metric, ...]:
    """Return the metrics that these models suffice for."""
    out = (*(() if original else OF_ORIGINAL), *(() if incompetent else OF_INCOMPETENT))
    return tuple(one for one in catalogue() if one.name not in out)


def _parts(bound: Bound, whole_class: bool) -> dict[str, Any]:
    """Return the parts of the test set where whole classes are forgotten, without empty ones."""
    if not whole_class:
        return {}
    test, forgotten = bound.splits["test"], np.unique(bound.labels[bound.splits["forget"]])
    if np.isin(bound.labels[bound.splits["retain"]], forgotten).any():
        raise UserError("whole_class=True, but retain has examples of the classes in forget.\nTry: whole_class=False")
    goes = np.isin(bound.labels[test], forgotten)
    return {name: part for name, part in (("test_retain", test[~goes]), ("test_forget", test[goes])) if len(part)}


def _scored(bound: Bound, model: nn.Module, splits: Mapping[str, Any]) -> BySplit:
    """Score a copy of a model on each split; the parts of test are cut from its scores."""
    mine = bound.task.prepare(single(_merged(model)))
    found: dict[str, Scores] = {name: bound.task.score(mine, index) for name, index in bound.splits.items()}
    for name in splits.keys() - found.keys():
        found[name] = found["test"].rows(np.isin(found["test"].index, splits[name]))
    return {name: found[name] for name in splits}


def _merged(model: nn.Module) -> nn.Module:
    """Return a model with its adapter, if any, merged in a copy; a prompt stays in front."""
    return model if inner(model) is not model else plain(model)


def _incompetent(bound: Bound, splits: Mapping[str, Any], options: Options, seed: int) -> Iterator[BySplit]:
    """Yield the scores of networks that know nothing of the data; none where nobody says what those are."""
    if is_language(bound.spec) and options.fresh is None:
        return
    for number in range(networks(bound.spec)):
        try:
            with seeded(seed, "incompetent", number):
                network = bound.task.prepare(single(incompetent(bound.spec, bound.info)))
        except UserError as error:
            log.info("zrf is left out: %s", error)
            return
        compared = {name: index for name, index in splits.items() if name in ("forget", "test_forget")}
        yield {name: bound.task.score(network, index) for name, index in compared.items()}
