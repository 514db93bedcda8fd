"""Tokens of conversations: the chat template's own, whatever tokenizer and template."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from unlearnbench.contracts import IGNORED
from unlearnbench.errors import UserError
from unlearnbench.tasks.encoding import Asked, Encoder, Limit
from unlearnbench.tasks.text import TextTask
from worlds import CPU, llama, text_task

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]
TURNS = "{% for message in messages %}"
LAST = "{% endfor %}"
TEMPLATES = {
    "chatml": TURNS + "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}" + LAST,
    "inst": "{{ bos_token }}" + TURNS + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'system' %}{{ '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}" + LAST,
    "trimmed": TURNS + "{{ message['role'] + ': ' + (message['content'] | trim) + '\n' }}" + LAST,
    "joined": TURNS + "{{ message['content'] + eos_token }}" + LAST,
    "words": "{{ bos_token }}" + TURNS + "{{ message['role'] + message['content'] + ' . ' }}" + LAST,
}  # fmt: skip


def byte_level():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return bpe, trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )  # fmt: skip


def byte_level_with_prefix():
    bpe, trainer = byte_level()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return bpe, trainer


def prepending_normalizer():
    """As Llama 2 and Mistral: each piece of text between special tokens begins with a blank."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return bpe, trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False)


def metaspace(scheme):
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    return unigram, trainers.UnigramTrainer(
        vocab_size=700, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )


def gemma_like():
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.pre_tokenizer = pre_tokenizers.Split(Regex("▁+"), "merged_with_previous")
    return bpe, trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False)


def t5_like():
    unigram, trainer = metaspace("always")
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False), blanks])
    return unigram, trainer


def word_pieces():
    pieces = Tokenizer(models.WordPiece(unk_token="<unk>"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return pieces, trainers.WordPieceTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False)


KINDS = {
    "byte_level": byte_level,
    "byte_level_with_prefix": byte_level_with_prefix,
    "prepending_normalizer": prepending_normalizer,
    "metaspace_first": lambda: metaspace("first"),
    "metaspace_always": lambda: metaspace("always"),
    "metaspace_never": lambda: metaspace("never"),
    "gemma_like": gemma_like,
    "t5_like": t5_like,
    "word_pieces": word_pieces,
}


@pytest.fixture(scope="module")
def data():
    return text_task(limit=40, limit_test=24).data


@pytest.fixture(scope="module")
def trained(data):
    """Tokenizers of all kinds, which begin whatever they are given with `<s>`, as many do."""
    texts = [f"{row.prompt}\n{text}" for row in data.rows for text in filter(None, row.options)]
    found = {}
    for kind, make in KINDS.items():
        backend, trainer = make()
        backend.train_from_iterator(texts, trainer)
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        found[kind] = backend.to_str()
    return found


def tokenizer_of(trained, kind, template):
    backend = Tokenizer.from_str(trained[kind])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def task_of(data, tokenizer, context=512):
    return TextTask(data, Encoder(tokenizer, True, Limit(asked=context, too_long="cut")), CPU, llama(), 50, 0)


def letters(text):
    return "".join(letter for letter in text.lower() if letter.isalnum())


def turns(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_the_chat_templates_of_the_whole_conversation(data, trained, kind, template):
    tokenizer = tokenizer_of(trained, kind, template)
    task, count = task_of(data, tokenizer), len(data.rows)
    for place in range(0, 2 * count, 7):
        row, question = task.rows[place % count], data.rows[place % count].prompt
        for answer, tokens in row.answers.items():
            whole = tokenizer.apply_chat_template(turns(question, answer), tokenize=True, return_dict=False)
            mine = [*row.prompt, *tokens]
            assert mine == whole[: len(mine)]
            assert not tokenizer.decode(whole[len(mine) :]).strip(" ▁\n")  # newlines behind the turn
            assert letters(answer) in letters(tokenizer.decode(tokens, skip_special_tokens=True))
            assert letters(answer) not in letters(tokenizer.decode(tokens[2:]))  # a blank may stand before the answer
        batch = task.batch(np.array([place]), None)
        assert batch.inputs[0].tolist() == [*row.prompt, *row.answers[data.answer(place)]]
        assert (batch.labels[0] != IGNORED).sum() == len(row.answers[data.answer(place)])


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_cut_question_the_whole_conversation_is_tokenised_too(data, trained, kind):
    tokenizer = tokenizer_of(trained, kind, "inst")
    free = task_of(data, tokenizer)
    context = sorted(row.length for row in free.rows)[len(free.rows) // 2]
    task = task_of(data, tokenizer, context)
    cut = task.behind(0).cut
    assert 0 < len(cut) == task.encoder.cut < len(task.rows) and max(row.length for row in task.rows) <= context
    for place in list(cut)[:10]:
        whole, question = data.rows[place].prompt, data.answer(place)
        text = tokenizer.decode(task.rows[place].prompt)
        assert text.count("[INST]") <= 1
        row, answer = task.rows[place], data.answer(place)
        kept = cut_question(tokenizer, task, place)
        assert len(kept) < len(whole) and whole.startswith(kept[:10]) and whole.endswith(kept[-10:]) and question
        tokens = tokenizer.apply_chat_template(turns(kept, answer), tokenize=True, return_dict=False)
        assert tokens == [*row.prompt, *row.answers[answer]]
        assert row.length > context - 12  # no more is cut than must be


def cut_question(tokenizer, task, place):
    """Find the cut question by trying: a beginning and an end of the whole one with the row's tokens."""
    whole, row, answer = task.data.rows[place].prompt, task.rows[place], task.data.answer(place)
    wanted = [*row.prompt, *row.answers[answer]]
    spans = task.encoder._question(Asked(whole, (answer,)))
    for first in range(1, len(spans)):
        for last in (first, first - 1):
            kept = whole[: spans[first - 1][1]] + whole[spans[len(spans) - max(last, 1)][0] :]
            if tokenizer.apply_chat_template(turns(kept, answer), tokenize=True, return_dict=False) == wanted:
                return kept
    raise AssertionError("no question has these tokens")


@pytest.mark.parametrize("template", ["chatml", "inst"])
@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_prompt_tokens_are_the_whole_conversations_or_the_prompt_is_refused(data, trained, kind, template):
    tokenizer = tokenizer_of(trained, kind, template)
    task, message = task_of(data, tokenizer), {"role": "system", "content": "Judge by the facts."}
    try:
        opened = task.opened([message])
    except UserError as error:
        assert "merges a prompt with the question" in str(error)
        assert (kind, template) == ("t5_like", "inst")
        return
    for place in range(0, len(data.rows), 5):
        question, answer = data.rows[place].prompt, data.answer(place)
        whole = tokenizer.apply_chat_template([message, *turns(question, answer)], tokenize=True, return_dict=False)
        mine = [*opened, *task.prompt(place)[len(task.opening) :], *task.answer(place)]
        assert mine == whole[: len(mine)]


def test_a_template_that_changes_what_is_said_is_refused(data, trained):
    tokenizer = tokenizer_of(trained, "byte_level", "joined")
    tokenizer.chat_template = TURNS + "{{ message['content'] | upper }}" + LAST
    with pytest.raises(UserError, match="chat template changes the text"):
        task_of(data, tokenizer)
    tokenizer.chat_template = TURNS + "{% if message['role'] == 'user' %}{{ message['content'] }}{% endif %}" + LAST
    with pytest.raises(UserError, match="must write the question and then the answer"):
        task_of(data, tokenizer)


def test_tokenising_whole_conversations_keeps_answers_that_begin_alike_supervised(data, trained):
    encoder = Encoder(tokenizer_of(trained, "byte_level", "chatml"), True, Limit(asked=512, too_long="cut"))
    (row,) = encoder.encode([Asked("Is it so?", ("It is so.", "It is not so."))]).rows
    shared = encoder.tokens("It is")
    assert all(tokens[: len(shared)] == shared for tokens in row.answers.values())


# Conversations of several turns

LATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if loop.index0 == messages | length - 2 and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] + '\n\n' }}{% endif %}{{ message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""As Mistral's: the system message is before the last question."""
HISTORIES = [
    (),
    (("system", "Judge by the facts."),),
    (("user", "Is it so?"), ("assistant", "It is so.")),
    (
        ("system", "Judge. "),
        ("user", " Who is it?\n"),
        ("assistant", "Nobody"),
        ("user", "It is?"),
        ("assistant", "No."),
    ),
]


def said(asked, answer):
    messages = [*asked.history, ("user", asked.question), ("assistant", answer)]
    return [{"role": role, "content": content} for role, content in messages]


def conversations(data):
    """Return a few rows of the notes, behind each history in turn."""
    rows = [replace(row, history=HISTORIES[number % 4]) for number, row in enumerate(data.rows[:8])]
    return replace(data, rows=tuple(rows))


@pytest.mark.parametrize("template", ["chatml", "inst", "trimmed", "words", "late"])
@pytest.mark.parametrize("kind", KINDS)
def test_conversations_of_several_turns_have_the_templates_tokens_and_their_answers_are_supervised(
    data, trained, kind, template
):
    tokenizer = tokenizer_of(trained, kind, "inst")
    tokenizer.chat_template = {**TEMPLATES, "late": LATE}[template]
    long = conversations(data)
    every, last = (task_of(replace(long, every_answer=each), tokenizer) for each in (True, False))
    for place in range(len(long.rows)):
        row, answer = long.rows[place], long.answer(place)
        whole = tokenizer.apply_chat_template(
            said(Asked(row.prompt, (), row.history), answer), tokenize=True, return_dict=False
        )
        mine = [*every.prompt(place), *every.answer(place)]
        assert mine == whole[: len(mine)] and not tokenizer.decode(whole[len(mine) :]).strip(" ▁\n")
        batch = every.batch(np.array([place]), None)
        assert batch.inputs[0].tolist() == mine
        taught = tokenizer.decode(batch.labels[0][batch.labels[0] != IGNORED].tolist(), skip_special_tokens=True)
        answers = [text for role, text in (*row.history, ("assistant", answer)) if role == "assistant"]
        assert letters(taught) == letters("".join(answers))
        assert batch.rows_per_example == float((batch.labels != IGNORED).sum())
        alone = last.batch(np.array([place]), None).labels[0]
        assert alone[alone != IGNORED].tolist() == last.answer(place)


def test_an_earlier_answer_is_closed_like_the_last_one(data, trained):
    tokenizer = tokenizer_of(trained, "byte_level", "chatml")
    task = task_of(replace(conversations(data), every_answer=True), tokenizer)
    place = 2
    assert tokenizer.decode([task.prompt(place)[token] for token in task.earlier(place)]) == "It is so.<|im_end|>"
    assert tokenizer.decode([task.prompt(place)[n] for n in task.earlier(place, closed=False)]) == "It is so."
    tokenizer.chat_template = TURNS + "{{ '<|im_start|>' + message['content'] }}" + LAST  # nothing closes a turn
    task = task_of(replace(conversations(data), every_answer=True), tokenizer)
    assert tokenizer.decode([task.prompt(place)[token] for token in task.earlier(place)]) == "It is so."


def test_of_long_conversations_the_oldest_turns_go_first_then_the_questions_middle(trained):
    tokenizer = tokenizer_of(trained, "byte_level", "chatml")
    history = (
        ("system", "Be fair."),
        ("user", "First?"),
        ("assistant", "One."),
        ("user", "Second?"),
        ("assistant", "2."),
    )
    asked = Asked("Who is the third, and is it the same as before or another one?", ("She.",), history)
    free = Encoder(tokenizer, True, Limit(asked=512, too_long="cut")).encode([asked]).rows[0]

    def text(over):
        encoder = Encoder(tokenizer, True, Limit(asked=free.length - over, too_long="cut"))
        found = encoder.encode([asked])
        assert found.cut == ({0} if over else set()) and found.rows[0].length <= free.length - over
        return tokenizer.decode(found.rows[0].prompt)

    assert "First?" in text(0)
    assert "First?" not in text(1) and "One." not in text(1) and "Be fair." in text(1) and "Second?" in text(1)
    gone = free.length - len(
        tokenizer.apply_chat_template(said(Asked(asked.question, (), history[:1]), "She."), return_dict=False)
    )
    assert "Second?" not in text(gone) and asked.question in text(gone)
    assert "Be fair." in text(gone + 5) and "Who is" in text(gone + 5) and asked.question not in text(gone + 5)
    refused = Encoder(tokenizer, True, Limit(asked=free.length - 1, too_long="refuse"))
    with pytest.raises(UserError, match="too_long=refuse"):
        refused.encode([asked])


def test_a_template_that_takes_no_system_message_names_the_roles(trained):
    tokenizer = tokenizer_of(trained, "byte_level", "chatml")
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    tokenizer.chat_template = refuses + TEMPLATES["chatml"]
    encoder = Encoder(tokenizer, True, Limit(asked=512, too_long="cut"))
    rows = [Asked("Who?", ("She.",)), Asked("Who?", ("She.",), (("system", "Be fair."),))]
    with pytest.raises(
        UserError, match=r"a conversation of system, user, assistant \(System role not.*\nTry: rows and"
    ):
        encoder.encode(rows)


def test_a_template_that_leaves_out_a_message_is_refused(trained):
    tokenizer = tokenizer_of(trained, "byte_level", "chatml")
    tokenizer.chat_template = TEMPLATES["chatml"].replace("in messages", "in messages[-2:]")
    encoder = Encoder(tokenizer, True, Limit(asked=512, too_long="cut"))
    with pytest.raises(UserError, match=r"each message once; of user, assistant, user, assistant it does not"):
        encoder.encode([Asked("Who?", ("She.",), (("user", "q"), ("assistant", "a")))])


def test_the_end_of_a_long_text_is_cut_and_long_options_are_refused(trained):
    tokenizer = tokenizer_of(trained, "byte_level", "chatml")
    encoder = Encoder(tokenizer, False, Limit(asked=16, too_long="cut"))
    text = "one two three four five six seven eight nine ten eleven twelve"
    (row,) = encoder.encode([Asked("", (text,))]).rows
    assert row.length == 16 and row.answers[text] == encoder.tokens(text)[:15] and encoder.cut == 1
    with pytest.raises(UserError, match=r"are over dataset\.context=16"):
        encoder.encode([Asked("", (text, text + " thirteen"))])
