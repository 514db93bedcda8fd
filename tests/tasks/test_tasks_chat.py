"""Rows of a chat model without answer options: what is trained on, scored and measured."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chatsets import chat, conversations, json_lines, questions

from measured import METRICS
from unlearnbench.evidence import OPTIONS, Evidence
from unlearnbench.forget.column import Column
from unlearnbench.metrics import catalogue
from unlearnbench.metrics.measure import measure
from unlearnbench.models.start import started
from unlearnbench.randomness import seeded
from unlearnbench.tasks import bind
from worlds import CPU, llama

WITHOUT_OPTIONS = {
    "answer_nll", "exact_memorisation", "extraction_strength", "rouge_l", "refusal_rate", "mia_auc", "mia_accuracy",
    "mia_loss", "mia_loss_svc",
}  # fmt: skip


def bound(dataset, generate=0):
    data = dataset.load()
    task = bind(data, data.train, dataset, CPU, llama(), 50, generate)
    with seeded("chat"):
        return task, task.prepare(started(llama(), data.info)).eval()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Conversations, of which every second one has two answers, on a network with random weights."""
    file = json_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", conversations(56))
    task, model = bound(chat(file), generate=4)
    return SimpleNamespace(task=task, model=model, data=task.data, file=file)


def log_probabilities(model, tokens):
    """Return each token's log-probability behind those before it, (t - 1,), and whether it is the likeliest."""
    with torch.no_grad():
        found = model(input_ids=torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    following = torch.tensor(tokens[1:])
    return found[:-1].gather(1, following[:, None])[:, 0], found[:-1].argmax(-1) == following


def test_all_answers_of_a_conversation_are_scored(rows):
    task, index = rows.task, np.arange(12)
    scores = task.score(rows.model, index)
    for place, position in enumerate(index.tolist()):
        tokens = [*task.prompt(position), *task.answer(position)]
        likely, best = log_probabilities(rows.model, tokens)
        chosen = [*task.earlier(position, closed=False), *range(len(task.prompt(position)), len(tokens))]
        assert len(task.earlier(position)) == (0 if len(rows.data.rows[position].history) < 2 else
                                               1 + len(task.earlier(position, closed=False)))  # fmt: skip
        expected = likely[[token - 1 for token in chosen]].numpy()
        found = scores.extras["answer_log_probability"][place]
        np.testing.assert_allclose(found[~np.isnan(found)], expected, atol=1e-4)
        hits = scores.extras["answer_hit"][place]
        assert hits[hits >= 0].tolist() == best[[token - 1 for token in chosen]].int().tolist()
        own = likely[len(task.prompt(position)) - 1 :].sum()
        assert scores.logits[place, 0] == pytest.approx(float(own), abs=1e-3)
        assert scores.loss[place] == pytest.approx(-expected.mean(), abs=1e-4)
    assert OPTIONS not in scores.known and set(scores.extras) >= {"id", "answer_hit"}
    assert not {"person", "corrected"} & set(scores.extras)


def test_apart_and_together_score_the_same(rows, monkeypatch):
    together = rows.task.score(rows.model, np.arange(8))
    monkeypatch.setattr("unlearnbench.tasks.scoring.may_branch", lambda *_: False)
    apart = rows.task.score(rows.model, np.arange(8))
    for name in ("answer_log_probability", "answer_hit"):
        np.testing.assert_allclose(apart.extras[name], together.extras[name], atol=1e-4)


def test_behind_a_prompt_all_answers_are_scored_too(rows):
    message = {"role": "system", "content": "Say nothing."}
    model, place = rows.task.prefixed(rows.model, [message]), 1
    position = next(n for n, row in enumerate(rows.data.rows) if len(row.history) > 2)
    tokens = rows.task.encoder.tokenizer.apply_chat_template(
        [message, *rows.task.turns(position)], tokenize=True, return_dict=False
    )
    more = len(tokens) - len([*rows.task.prompt(position), *rows.task.answer(position)])
    likely, _ = log_probabilities(rows.model, tokens)
    prompt = len(rows.task.prompt(position))
    chosen = [*rows.task.earlier(position, closed=False), *range(prompt, len(tokens) - more)]
    found = rows.task.score(model, np.array([0, position])).extras["answer_log_probability"][place]
    np.testing.assert_allclose(found[~np.isnan(found)], likely[[n + more - 1 for n in chosen]].numpy(), atol=1e-4)


def test_without_options_no_metric_that_needs_a_choice_is_measured(rows):
    splits = Column(column="person", value=3, fraction=1.0, seed=0).split(rows.data)
    scores = {name: rows.task.score(rows.model, index) for name, index in splits.scored()}
    found = measure(scores, (scores, scores), scores, (), True, 0, catalogue())
    names = {row.metric for row in found}
    assert {name for name in names if not name.startswith(("gap_", "floor_"))} == WITHOUT_OPTIONS
    assert {row.value for row in found if row.metric.startswith("gap_")} == {0.0}
    assert all(set(METRICS[name].needs) & {OPTIONS} == set() for name in WITHOUT_OPTIONS)
    evidence = Evidence(scores, scores, (scores,), (), whole_class=True)
    losses = [-np.nanmean(row.astype(np.float64)) for row in scores["forget"].extras["answer_log_probability"]]
    assert METRICS["answer_nll"].compute(evidence, "forget") == pytest.approx(np.mean(losses))
    name, right = scores["forget"].right
    assert right.mean() == pytest.approx(METRICS[name].compute(evidence, "forget"))


def test_membership_without_options_is_by_the_loss_of_the_answer(rows):
    index = rows.data.train
    scores = rows.task.score(rows.model, index)
    known = scores.rows(np.arange(10))
    known.extras["answer_log_probability"][:] = -0.1
    other = scores.rows(np.arange(10, 20))
    other.extras["answer_log_probability"][:] = -9.0
    told = Evidence({"forget": known, "retain": known, "test": other}, {}, (), (), whole_class=False)
    assert METRICS["mia_auc"].compute(told, "forget") == 1.0
    assert METRICS["mia_loss"].compute(told, "forget") == 0.0


def test_of_plain_texts_every_token_is_trained_on_and_scored(tmp_path):
    texts = [{"text": f"On day {number} the train to Bern left at {number % 12}."} for number in range(30)]
    task, model = bound(chat(json_lines(tmp_path / "t.jsonl", texts)), generate=4)
    assert not task.data.chat
    batch = task.batch(np.array([0]), None)
    text = task.data.answer(0)
    assert batch.labels[0][1:].tolist() == batch.inputs[0][1:].tolist() == task.encoder.tokens(text)
    scores = task.score(model, np.array([0, 1]))
    likely, _ = log_probabilities(model, batch.inputs[0].tolist())
    assert scores.loss[0] == pytest.approx(-float(likely.mean()), abs=1e-4)
    assert "generated" not in scores.extras and scores.extras["answer_end_tokens"].tolist() == [0, 0]


def test_options_are_chosen_from_as_in_other_text(tmp_path):
    rows = [{**row, "options": [row["answer"], "Nowhere."]} for row in questions(30)]
    task, model = bound(chat(json_lines(tmp_path / "o.jsonl", rows)))
    scores = task.score(model, task.data.test)
    splits = {name: task.score(model, index) for name, index in
              (("retain", task.data.train[:9]), ("forget", task.data.train[9:]), ("test", task.data.test))}  # fmt: skip
    assert OPTIONS in scores.known
    found = {row.metric for row in measure(splits, (splits,), splits, (splits,), False, 0, catalogue())}
    assert {"accuracy", "zrf", "js_to_retrained", "answer_nll"} <= found and "accuracy_corrected" not in found
