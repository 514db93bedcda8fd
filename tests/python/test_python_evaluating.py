"""`unlearnbench.evaluate`: the rows of a run's metrics.csv, from models and data in hand."""

from __future__ import annotations

import copy

import pytest
import torch

import unlearnbench
from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.experiment import build
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop
from unlearnbench.runs.launch import prepare
from unlearnbench.stages.benches import Benches
from worlds import TINY, same_weights


def pair(data, index):
    return data.images[torch.from_numpy(index)], torch.from_numpy(data.labels[index])


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A run of the command with two references, its models and its examples."""
    folder = tmp_path_factory.mktemp("outputs")
    words = [*TINY, "method=grad_diff", "reference.count=2", "device=cpu", f"outputs={folder}"]
    result = unlearnbench.run(words)
    experiment = assemble(prepare(words)).experiment
    (asked,) = build(experiment, Benches().of(experiment))
    workshop = Workshop(Cache(folder / "cache"))
    models = {role: copy.deepcopy(workshop.model(one)) for role, one in asked.models.roles()}
    splits, bench = asked.world.splits, asked.world.bench
    examples = {name: pair(bench.data, getattr(splits, name)) for name in ("retain", "forget", "test")}
    return result, models, examples, bench


@pytest.mark.slow
def test_evaluate_gives_the_rows_of_the_run(ran):
    result, models, examples, bench = ran
    before = copy.deepcopy(models)
    table = unlearnbench.evaluate(
        models["unlearned"], *examples.values(), models["original"], [models["retrained_0"], models["retrained_1"]],
        whole_class=True, normalise=([0.5], [0.25]), fresh=lambda: bench.spec.build(bench.info), device="cpu",
    )  # fmt: skip
    assert tuple(table.columns) == ("role", "split", "metric", "value")
    expected = result.metrics[list(table.columns)]
    assert sorted(table.itertuples(index=False, name=None)) == sorted(expected.itertuples(index=False, name=None))
    assert all(same_weights(models[role], before[role]) for role in models)


@pytest.mark.slow
def test_what_is_not_given_is_not_measured(ran):
    _, models, examples, _ = ran
    table = unlearnbench.evaluate(models["unlearned"], *examples.values(), normalise=([0.5], [0.25]), device="cpu")
    assert set(table.role) == {"unlearned"}
    found = set(table.metric)
    assert {"accuracy", "loss", "mia_loss", "zrf"} <= found
    assert not {"aus", "gap_accuracy", "js_to_retrained", "tug_of_war", "js_to_original"} & found
    given = {"normalise": ([0.5], [0.25]), "device": "cpu"}
    table = unlearnbench.evaluate(models["unlearned"], *examples.values(), models["original"], **given)
    assert {"aus", "js_to_original", "change_accuracy", "gap_held_out_accuracy"} <= set(table.metric)
    assert set(table.role) == {"original", "unlearned"} and "gap_accuracy" not in set(table.metric)


def test_a_language_model_is_evaluated_with_its_tokenizer(tiny_text):
    rows = [{"question": row.prompt, "answer": row.options[row.label]} for row in tiny_text.data.rows[:12]]
    tokenizer = tiny_text.task.encoder.tokenizer
    table = unlearnbench.evaluate(
        tiny_text.original, rows[:6], rows[6:9], rows[9:], tokenizer=tokenizer, generate=1, device="cpu"
    )
    assert {"answer_nll", "rouge_l"} <= set(table.metric)
    with pytest.raises(UserError, match="whole_class=True, but retain has"):
        unlearnbench.evaluate(
            tiny_text.original, rows[:6], rows[6:9], rows[9:], whole_class=True, tokenizer=tokenizer, device="cpu"
        )
