"""The text task: what is supervised, how options are scored, how prompts come before questions."""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

import measured
from unlearnbench.contracts import DataInfo
from unlearnbench.data.text import TextRow, text_data
from unlearnbench.errors import UserError
from unlearnbench.evidence import Evidence
from unlearnbench.tasks.encoding import Asked, Encoder, Limit
from unlearnbench.tasks.examples import examples
from unlearnbench.tasks.generation import greedy
from unlearnbench.tasks.text import TextTask
from unlearnbench.training.batches import Batches
from unlearnbench.training.losses import cross_entropy
from worlds import CPU, llama, notes, text_task

HUNDRED = Limit(asked=100, too_long="cut")


def naive(model, prompt, option):
    """Log-probability of an option's tokens behind a prompt, in a forward pass of its own."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *option]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(option))


def test_options_scored_together_equal_one_forward_pass_each(tiny_text):
    task, index = tiny_text.task, tiny_text.data.test[:6]
    scores = task.score(tiny_text.original, index)
    assert np.array_equal(scores.cluster, task.data.cluster[index])
    for place, position in enumerate(index.tolist()):
        for column, tokens in task.options(position):
            expected = naive(tiny_text.original, task.prompt(position), tokens)
            assert scores.logits[place, column] == pytest.approx(expected, abs=1e-3)
            assert scores.extras["option_tokens"][place, column] == len(tokens)
        missing = set(range(scores.logits.shape[1])) - {column for column, _ in task.options(position)}
        assert all(np.isneginf(scores.logits[place, column]) for column in missing)


def test_scores_do_not_depend_on_what_shares_a_batch(tiny_text):
    alone = TextTask(tiny_text.data, tiny_text.task.encoder, CPU, tiny_text.spec, 1, 0)
    index = tiny_text.data.test
    together = tiny_text.task.score(tiny_text.original, index)
    apart = alone.score(tiny_text.original, index)
    np.testing.assert_allclose(together.logits, apart.logits, atol=1e-3)
    assert (together.index == apart.index).all()


def test_answers_alone_are_supervised_with_the_end_of_their_turn(tiny_text):
    task, position = tiny_text.task, int(tiny_text.splits.forget[0])
    batch = task.batch(np.array([position, position + len(task.data.rows)]), None)
    words = [task.encoder.tokenizer.decode(row[row != -100].tolist()) for row in batch.labels]
    assert words == [task.data.answer(position) + "<|end|>", task.data.rows[position].options[0] + "<|end|>"]
    assert batch.rows_per_example == float((batch.labels != -100).sum()) / 2
    whole = task.encoder.tokenizer.decode(batch.inputs[0].tolist())
    assert whole.startswith("<|start|><|user|>" + task.data.rows[position].prompt + "<|end|><|assistant|>")


def test_predictions_are_rows_of_answer_tokens(tiny_text):
    task, index = tiny_text.task, tiny_text.splits.retain[:3]
    batch = task.batch(index, None)
    predictions = task.predict(tiny_text.original, batch)
    assert predictions.examples == 3
    assert Counter(predictions.example.tolist()) == {n: len(task.answer(i)) for n, i in enumerate(index.tolist())}
    losses = [-naive(tiny_text.original, task.prompt(i), task.answer(i)) for i in index.tolist()]
    assert float(cross_entropy(predictions).detach().mean()) == pytest.approx(
        sum(losses) / len(predictions.labels), abs=1e-3
    )


def test_micro_batches_have_the_gradient_of_the_batch(tiny_text):
    task = tiny_text.task
    batch = task.batch(tiny_text.splits.retain[:6], None)
    gradients = []
    for size in (6, 2):
        tiny_text.original.zero_grad()
        for start in range(0, 6, size):
            (cross_entropy(task.predict(tiny_text.original, batch.rows(start, start + size))).sum() / 6).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in tiny_text.original.parameters()]))
    tiny_text.original.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_batches_of_a_length_hold_every_row_once_and_less_padding(tiny_text):
    task = tiny_text.task
    index = tiny_text.data.train
    batches = [batch for (batch,) in Batches(task, (index,), 12, 1, 0).epoch(0)]
    seen = np.concatenate([batch.index.numpy() for batch in batches])
    assert sorted(seen.tolist()) == index.tolist()
    padding = sum(int((batch.inputs == 0).sum()) for batch in batches)
    lengths = np.array([task._length(place) for place in np.random.default_rng(0).permutation(index).tolist()])
    random = sum(int((chunk.max() - chunk).sum()) for chunk in lengths.reshape(-1, 12))
    assert padding < random / 3
    other = [batch for (batch,) in Batches(task, (index,), 12, 1, 1).epoch(0)]
    assert any(a.index.tolist() != b.index.tolist() for a, b in zip(batches, other, strict=True))


def test_long_questions_lose_their_middle_and_are_counted():
    task = text_task(context=80)
    assert task.encoder.cut > 0
    assert max(row.length for row in task.rows) <= 80
    row = max(range(len(task.rows)), key=lambda place: len(task.data.rows[place].prompt))  # surely cut
    text = task.encoder.tokenizer.decode(task.prompt(row))
    question = task.data.rows[row].prompt
    assert question not in text
    assert text.startswith("<|start|><|user|>" + question[:10])
    assert text.endswith(question[-10:] + "<|end|><|assistant|>")


def test_long_questions_can_be_refused():
    with pytest.raises(UserError, match=r"over dataset\.context=80"):
        text_task(context=80, too_long="refuse")


def test_the_models_own_limit_bounds_sequences_too():
    task = text_task(replace(llama(), context=80))
    assert task.encoder.cut == text_task(context=80).encoder.cut > 0
    assert max(row.length for row in task.rows) <= 80
    with pytest.raises(
        UserError, match=r"over model\.context=80; they are refused.*\nTry: dataset.too_long=cut, or mod"
    ):
        text_task(replace(llama(), context=80), too_long="refuse")


@pytest.mark.parametrize("too_long", ["cut", "refuse"])
def test_the_smallest_context_that_works_is_named(too_long):
    with pytest.raises(UserError) as caught:
        text_task(context=16, too_long=too_long)
    named = int(re.search(r"\nTry: dataset\.context=(\d+)$", str(caught.value))[1])
    text_task(context=named, too_long=too_long)
    with pytest.raises(UserError):
        text_task(context=named - 1, too_long=too_long)


def test_both_limits_are_named_where_both_are_too_small():
    with pytest.raises(UserError) as caught:
        text_task(replace(llama(), context=17), context=16)
    assert re.search(r"Try: dataset\.context=(\d+) model\.context=\1$", str(caught.value))


def test_a_limit_that_cannot_be_raised_asks_for_another_model():
    limit = Limit(asked=512, too_long="cut", model=32)
    assert limit.name == "the model's limit of 32 tokens"
    assert limit.remedy(40) == "a model that takes 40 tokens; this one takes 32"


def test_a_prompt_equals_the_conversation_with_its_system_message(tiny_text):
    task, index = tiny_text.task, tiny_text.data.test[:4]
    message = {"role": "system", "content": "Judge by the facts."}
    scores = task.score(task.prefixed(tiny_text.original, [message]), index)
    for place, position in enumerate(index.tolist()):
        row = task.data.rows[position]
        for column, tokens in task.options(position):
            turns = [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.options[column]}]
            whole = task.encoder.tokenizer.apply_chat_template([message, *turns], return_dict=False)
            prompt = whole[: -len(tokens)]
            assert whole[len(prompt) :] == tokens
            assert scores.logits[place, column] == pytest.approx(naive(tiny_text.original, prompt, tokens), abs=1e-3)


LONG = [{"role": "system", "content": "Judge by the facts, and by nothing else but the facts. "}]


def test_questions_behind_a_prompt_are_cut_and_counted_where_they_get_too_long(tiny_text):
    short = Limit(asked=130, too_long="cut")
    task = TextTask(tiny_text.data, Encoder(tiny_text.task.encoder.tokenizer, True, short), CPU, tiny_text.spec, 9, 0)
    alone = task.encoder.cut
    model = task.prefixed(copy.deepcopy(tiny_text.original), LONG)
    assert task.encoder.cut > alone
    seen = []
    model.model.register_forward_pre_hook(
        lambda _module, _inputs, named: seen.append(named["position_ids"]), with_kwargs=True
    )
    task.score(model, tiny_text.data.test)
    assert max(int(positions.max()) for positions in seen) < short.asked
    assert task.rows == task.behind(0).rows  # the other models' are not cut for it


def test_a_prompt_that_makes_sequences_too_long_is_refused_where_they_are(tiny_text):
    task = text_task(context=200, too_long="refuse")
    with pytest.raises(UserError, match=r"tokens with the prompt are over dataset\.context=200") as caught:
        task.prefixed(tiny_text.original, LONG * 4)
    named = int(re.search(r"dataset\.context=(\d+)$", str(caught.value))[1])
    text_task(context=named, too_long="refuse").opened(LONG * 4)


def test_written_answers_end_with_the_context(tiny_text):
    prompts = sorted((row.prompt for row in tiny_text.task.rows), key=len)
    short, long, longest = prompts[0], prompts[-1], len(prompts[-1])
    one, other = greedy(tiny_text.original, [long, short], 48, longest + 3, 0)
    assert len(one) <= 3 < len(other) <= 48
    assert other == greedy(tiny_text.original, [short], 48, 500, 0)[0]


def test_no_answer_of_the_data_is_too_long_to_be_written_out(tiny_text):
    """The model that gives every answer word for word would be cut nowhere, its turn's end included."""
    task, encoder = tiny_text.task, tiny_text.task.encoder
    answers = [task.data.answer(place) for place in range(2 * len(task.data.rows))]
    lengths = [len(encoder.tokens(text + "<|end|>")) for text in answers]
    assert task.longest_answer == max(lengths) > min(lengths)
    assert len(greedy(tiny_text.original, [task.prompt(0)], 1, 500, 0)[0]) == 1


def open_unlearning(model, tokenizer, question, answer):
    """Exact memorisation, extraction strength and loss per token, as its evaluation takes them from one conversation.

    The loss is over the answer and the end of its turn; the others leave out that end, the last token supervised.
    """
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    tokens, start = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (whole, opened))
    labels = torch.tensor(tokens[len(start) :])
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0, len(start) - 1 : -1].double()
    hits = (logits.argmax(-1) == labels).tolist()[:-1]
    given = next((k for k in range(len(hits)) if all(hits[k:])), len(hits))
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return sum(hits) / len(hits), 1 - given / len(hits), float(loss)


def test_memorisation_and_loss_are_those_of_open_unlearnings_evaluation(tiny_text):
    task, index = tiny_text.task, tiny_text.splits.forget[:12]
    scored = {"forget": task.score(tiny_text.original, index)}
    evidence = Evidence(scored, scored, (), (), whole_class=False)
    rows = [task.data.rows[place] for place in index.tolist()]
    naive = [
        open_unlearning(tiny_text.original, task.encoder.tokenizer, row.prompt, row.options[row.label]) for row in rows
    ]
    names = ("exact_memorisation", "extraction_strength", "answer_nll")
    found = [measured.value(name, evidence, "forget") for name in names]
    assert found == pytest.approx(np.mean(naive, axis=0), abs=1e-3)
    assert 0 < found[0] < 1


def test_the_tokens_that_end_an_answers_turn_are_counted(tiny_text):
    """One `<|end|>` behind each answer, though more follow; none behind a bare sentence; words before it count too."""
    task, index = tiny_text.task, tiny_text.data.test[:5]
    scores = task.score(tiny_text.original, index)
    assert scores.extras["answer_end_tokens"].tolist() == [1] * 5
    for place, position in enumerate(index.tolist()):
        own = task.encoder.tokens(task.data.answer(position))
        assert (scores.extras["answer_hit"][place] >= 0).sum() == len(own) + 1
    tokenizer = copy.deepcopy(task.encoder.tokenizer)
    for ending, tokens in (("<|end|><|start|>", 1), ("#<|end|>", 2), ("", 0), ("<|end|>\n", 1)):
        tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}" + ending + "{% endfor %}"
        (row,) = Encoder(tokenizer, True, HUNDRED).encode([Asked("Is it?", ("It is so.", "No"))]).rows
        assert row.ends == {"It is so.": tokens, "No": tokens}


def test_written_answers_are_the_greedy_continuation(tiny_text):
    task = TextTask(tiny_text.data, tiny_text.task.encoder, CPU, tiny_text.spec, 50, 4)
    index = tiny_text.data.test
    scores = task.score(tiny_text.original, index)
    chosen = np.flatnonzero(scores.extras["reference"] != "")
    assert chosen.tolist() == examples(index, tiny_text.data.unit, tiny_text.data.columns, 4).tolist()
    assert len(chosen) == 4
    for place in chosen.tolist():
        tokens = list(task.prompt(int(index[place])))
        start = len(tokens)
        while len(tokens) - start < task.longest_answer:
            with torch.no_grad():
                tokens.append(int(tiny_text.original(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == 2:
                break
        assert scores.extras["generated"][place] == task.encoder.decoded(tokens[start:])


def test_rows_without_a_conversation_are_scored_behind_the_start_token(tiny_text):
    info = DataInfo(kind="text", classes=("more", "less"), train=0, test=1, shape=())
    row = TextRow(prompt="a sentence", options=("She cooks well.", "He cooks well."), label=0, corrected=0)
    task = tiny_text.task.on(text_data(notes(), info, [], [], [row], chat=False))
    scores = task.score(tiny_text.original, np.array([0]))
    for column, text in enumerate(row.options):
        expected = naive(tiny_text.original, [1], task.encoder.tokens(text))
        assert scores.logits[0, column] == pytest.approx(expected, abs=1e-3)


def test_bare_sentences_stand_whole_behind_a_prompt(tiny_text):
    info = DataInfo(kind="text", classes=("more", "less"), train=0, test=1, shape=())
    row = TextRow(prompt="a sentence", options=("She cooks well.", "He cooks well."), label=0, corrected=0)
    task = tiny_text.task.on(text_data(notes(), info, [], [], [row], chat=False))
    model = tiny_text.task.prefixed(tiny_text.original, LONG)
    scores = task.score(model, np.array([0]))
    for column, text in enumerate(row.options):
        expected = naive(tiny_text.original, model.prefix.tolist(), task.encoder.tokens(text))
        assert scores.logits[0, column] == pytest.approx(expected, abs=1e-3)


def test_a_tokenizer_that_starts_no_sentence_is_refused(tiny_text):
    tokenizer = llama().tokenizer(["some text"])
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"bos or eos token, but it has neither"):
        Encoder(tokenizer, False, HUNDRED)


def test_a_tokenizer_without_a_template_gets_the_documented_one(tiny_text, caplog):
    tokenizer = llama().tokenizer(["some text to learn from"])
    tokenizer.chat_template = None
    encoder = Encoder(tokenizer, True, HUNDRED)
    (row,) = encoder.encode([Asked("Who?", ("You.",))]).rows
    assert tokenizer.decode(row.prompt) == "### user\nWho?\n\n### assistant\n"
    assert tokenizer.decode(row.answers["You."]) == "You.<|end|>"
    assert "no chat template" in caplog.text


@pytest.mark.parametrize(
    ("written", "day"),
    [
        (
            "{% if date_string is defined %}{{ date_string }}{% else %}{{ strftime_now('%Y') }}{% endif %}",
            "26 Jul 2024",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ("{{ strftime_now('%B %d, %Y') }}", "July 26, 2024"),
    ],
)
def test_templates_that_print_a_date_are_given_a_fixed_one(written, day):
    tokenizer = llama().tokenizer(["some text"])
    tokenizer.chat_template = written + "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (row,) = Encoder(tokenizer, True, HUNDRED).encode([Asked("Who?", ("You.",))]).rows
    assert tokenizer.decode(row.prompt) == f"{day}Who?"


def test_an_answers_turn_ends_with_the_first_special_token_behind_it():
    """Phi-3's template writes the end of the text behind the last turn: no model says that in an answer."""
    tokenizer = llama().tokenizer(["some text"])
    tokenizer.chat_template += "{{ '\n<|pad|>' }}"
    (row,) = Encoder(tokenizer, True, HUNDRED).encode([Asked("Who?", ("You.",))]).rows
    assert tokenizer.decode(row.answers["You."]) == "You.<|end|>"
    assert row.ends == {"You.": 1}


def test_a_template_that_refuses_a_system_message_says_so_before_training(tiny_text):
    tokenizer = llama().tokenizer(["some text"])
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refusal + tokenizer.chat_template
    task = TextTask(
        tiny_text.data, Encoder(tokenizer, True, Limit(asked=900, too_long="cut")), CPU, tiny_text.spec, 9, 0
    )
    with pytest.raises(
        UserError, match=r"rejects a conversation of system, user.* \(System role not supported\)\.\nTry"
    ):
        task.opened([{"role": "system", "content": "Judge by the facts."}])


def test_the_same_texts_give_the_same_tokenizer():
    first, second = (llama().tokenizer(["a b c", "b c d e"]).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
