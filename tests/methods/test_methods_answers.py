"""Methods that teach another answer to forget questions: one step is the naive step, and facts of their papers."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from naive import mean_ce, moved
from unlearnbench.errors import UserError
from unlearnbench.methods.altpo import Altpo, filled
from unlearnbench.methods.bias_unlearn import BiasUnlearn, differing
from unlearnbench.methods.dpo import Dpo
from unlearnbench.methods.idk import Idk
from unlearnbench.methods.instruct import Instruct
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.start import trainable
from unlearnbench.tasks.encoding import Encoder, Limit
from unlearnbench.techniques.preferences import dpo, npo, summed_loss
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from worlds import LORA, llama, same_weights

PLAIN_SGD = Optimizer(name="sgd", lr=0.05)
BASE = {"epochs": 1, "batch_size": 16, "batch_norm": "frozen", "optimizer": PLAIN_SGD}
WEIGHTS = {"forget_weight": 0.5, "retain_weight": 2.0}
DPO = Dpo(**BASE, **WEIGHTS, beta=0.1)
IDK = Idk(**BASE, **WEIGHTS, beta=None, refusals=("I do not know.",))
ALTPO = Altpo(
    **BASE, **WEIGHTS, beta=0.1, alternates=2, temperature=1.5, instruction="{question} Not: {answer} Another answer?"
)
BIAS = BiasUnlearn(
    **BASE, forget_weight=0.5, correct_weight=0.3, retain_weight=0.2, beta=0.1, adversarial=0.0, target=0.5,
    tolerance=0.0, check_every=1000,
)  # fmt: skip


@pytest.fixture
def few(text_problem):
    """Return what makes a problem with a few rows to forget, all of them with another corrected answer."""
    whole = text_problem()
    return lambda **changes: text_problem(**{"forget": whole.forget[:8], "retain": whole.retain[:8], **changes})


def learner(problem):
    return copy.deepcopy(problem.reference).requires_grad_(True)


def at(problem, index):
    return problem.task.batch(np.asarray(index), None)


def stepped(start, loss):
    """The parameters of a model after one step of plain descent on the loss."""
    model = copy.deepcopy(start).eval()
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(loss(model), parameters)
    return [one.detach() - 0.05 * slope for one, slope in zip(parameters, slopes, strict=True)]


def assert_weights(model, expected):
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=2e-6)


def preferred(problem, model, winning, losing, beta):
    """DPO of one batch of answers over another, the reference being the model of the problem."""
    pairs = [
        (summed_loss(problem.predict(model, batch)), summed_loss(problem.predict(problem.reference, batch)).detach())
        for batch in (winning, losing)
    ]
    return dpo(pairs[0], pairs[1], beta).mean()


def kept(problem, model):
    return cross_entropy(problem.predict(model, at(problem, problem.retain))).mean()


def test_dpo_prefers_the_corrected_answers(few):
    problem = few()
    twins = at(problem, problem.corrected(problem.forget))

    def whole(model):
        gained = preferred(problem, model, twins, at(problem, problem.forget), 0.1)
        return 0.5 * gained + 2.0 * kept(problem, model)

    assert_weights(DPO(learner(problem), problem), stepped(learner(problem), whole))


def test_dpo_with_equal_answers_has_no_gradient(few):
    problem = few(twins=np.arange(1000))
    model = dataclasses.replace(DPO, retain_weight=0.0)(learner(problem), problem)
    assert_weights(model, list(problem.reference.parameters()))


@pytest.mark.parametrize("method", [DPO, BIAS], ids=["dpo", "bias_unlearn"])
def test_without_corrected_answers_they_say_so(method, few):
    assert "needs corrected answers" in method.check(few(twins=None))
    assert method.check(few()) is None


@pytest.mark.parametrize("retain_per_forget", [0.0, 0.5, 1.0])
def test_instruct_is_one_step_down_on_corrected_and_drawn_retain_answers(retain_per_forget, text_problem):
    whole = text_problem()
    problem = text_problem(forget=whole.forget[:8], retain=whole.retain[:16])
    drawn = problem.sample(problem.retain, retain_per_forget / 2) if retain_per_forget else problem.retain[:0]
    assert len(drawn) == 8 * retain_per_forget
    index = np.concatenate([problem.twins[problem.forget], drawn])
    method = Instruct(epochs=1, batch_size=16, retain_per_forget=retain_per_forget, optimizer=PLAIN_SGD)
    assert_weights(
        method(learner(problem), problem), stepped(learner(problem), lambda model: mean_ce(problem, model, index))
    )


def test_other_answers_are_tokenised_as_own_ones(few):
    """A question answered with its own answer, or its twin's, is the batch that the task makes of it."""
    problem = few()
    for index in (problem.forget, problem.corrected(problem.forget)):
        own = at(problem, index)
        again = problem.answered(index, [problem.task.data.answer(place) for place in index.tolist()])
        assert torch.equal(own.inputs, again.inputs) and torch.equal(own.labels, again.labels)
        assert torch.equal(own.index, again.index) and own.rows_per_example == again.rows_per_example


def test_other_answers_follow_the_same_prompt_and_count_to_the_end_of_the_turn(few):
    problem = few()
    batch = problem.answered(problem.forget[:1], ["I do not know."])
    answer = batch.labels[0][batch.labels[0] != -100].tolist()
    assert problem.task.encoder.tokenizer.decode(answer) == "I do not know.<|end|>"
    prompt = problem.task.prompt(int(problem.forget[0]))
    assert batch.inputs[0, : len(prompt)].tolist() == prompt


@pytest.mark.parametrize("beta", [None, 0.1])
def test_idk_teaches_refusals(beta, few):
    problem = few()
    refused = problem.answered(problem.forget, ["I do not know."] * 8)

    def whole(model):
        if beta is None:
            learnt = cross_entropy(problem.predict(model, refused)).mean()
        else:
            learnt = preferred(problem, model, refused, at(problem, problem.forget), beta)
        return 0.5 * learnt + 2.0 * kept(problem, model)

    method, start = dataclasses.replace(IDK, beta=beta), moved(problem)
    assert_weights(method(copy.deepcopy(start), problem), stepped(start, whole))


def test_idk_draws_each_rows_refusal_anew_at_each_epoch(few, monkeypatch):
    problem, said = few(), []
    task = problem.task
    answered = task.answered
    monkeypatch.setattr(task, "answered", lambda index, answers: said.append(answers) or answered(index, answers))
    method = dataclasses.replace(IDK, epochs=2, refusals=("No.", "I cannot say.", "Unknown."))
    first = method(learner(problem), problem)
    assert len(said) == 2 and said[0] != said[1] and len({*said[0], *said[1]}) > 1
    assert same_weights(method(learner(problem), few()), first)


def within(problem, tokens, too_long):
    """Return the problem with another limit on its sequences."""
    task = copy.copy(problem.task)
    limit = Limit(asked=tokens, too_long=too_long)
    task.encoder = Encoder(task.encoder.tokenizer, task.data.chat, limit)
    return dataclasses.replace(problem, task=task)


def test_refusals_without_room_are_named_before_training(few):
    problem, long = few(), dataclasses.replace(IDK, refusals=("No.", "I do not know this. " * 5))
    assert long.check(problem) is None
    tight = within(problem, max(len(problem.task.prompt(place)) for place in problem.forget.tolist()) + 20, "refuse")
    assert IDK.check(tight) is None
    with pytest.raises(UserError, match=r"longest of method.refusals as the answer: \d+ sequences .* they are refused"):
        long.check(tight)
    with pytest.raises(UserError, match=r"no room is left for the question.\nTry: dataset.context=\d+"):
        long.check(within(problem, 40, "cut"))
    assert tight.task.encoder.cut == 0


def test_altpo_wants_room_for_its_instruction_and_for_alternates(few):
    problem, plain = few(), dataclasses.replace(ALTPO, instruction="{question}")
    assert ALTPO.check(problem) is None
    own = max(len(problem.task.prompt(place)) + len(problem.task.answer(place)) for place in problem.forget.tolist())
    with pytest.raises(UserError, match=r"with method.instruction around question and answer: "):
        ALTPO.check(within(problem, own, "refuse"))
    with pytest.raises(UserError, match=r"longest answer as an alternate: .* are over dataset.context="):
        plain.check(within(problem, own, "refuse"))
    assert plain.check(within(problem, own + problem.task.longest_answer, "refuse")) is None


def test_altpo_prefers_what_the_original_wrote(few, monkeypatch):
    problem = few()
    written = ALTPO.written(problem)
    assert set(written) == set(problem.forget.tolist()) and all(written.values())
    own = {place: problem.task.data.answer(place) for place in written}
    assert all(own[place] not in answers for place, answers in written.items())
    one = {place: answers[0] for place, answers in written.items()}

    def whole(model):
        winning = problem.answered(problem.forget, [one[place] for place in problem.forget.tolist()])
        gained = preferred(problem, model, winning, at(problem, problem.forget), 0.1)
        return 0.5 * gained + 2.0 * kept(problem, model)

    monkeypatch.setattr(Altpo, "written", lambda _self, _problem: {place: [answer] for place, answer in one.items()})
    start = moved(problem)
    assert_weights(ALTPO(copy.deepcopy(start), problem), stepped(start, whole))


def test_altpo_asks_the_original_behind_an_adapter(tiny_text, few):
    torch.manual_seed(0)
    student = trainable(llama(LORA), copy.deepcopy(tiny_text.original))
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name:
                parameter.fill_(1.0)  # what the student has learnt must not matter
    problem = few(spec=llama(LORA), reference=AdapterOff(student))
    assert ALTPO.written(problem) == ALTPO.written(few())


def test_a_question_without_alternates_takes_those_of_others():
    assert filled({1: ["a"], 2: [], 3: ["b", "a"]}) == {1: ["a"], 2: ["a", "b"], 3: ["b", "a"]}
    with pytest.raises(Exception, match="wrote no other answer"):
        filled({1: [], 2: []})


def test_bias_unlearn_is_npo_on_biased_and_ce_on_corrected_answers(few):
    problem = few()
    twins = at(problem, problem.corrected(problem.forget))

    def whole(model):
        biased = at(problem, problem.forget)
        reference = summed_loss(problem.predict(problem.reference, biased)).detach()
        lost = npo(summed_loss(problem.predict(model, biased)), reference, 0.1).mean()
        return 0.5 * lost + 0.3 * cross_entropy(problem.predict(model, twins)).mean()  # KL has no slope yet

    assert_weights(BIAS(learner(problem), problem), stepped(learner(problem), whole))


def test_bias_unlearn_stops_when_neither_answer_is_preferred(few):
    """Every check counts as balanced: one step of ten epochs."""
    problem = few()
    method = dataclasses.replace(BIAS, epochs=10, check_every=1, tolerance=1.0)
    method(learner(problem), problem)
    assert len(problem.record.tables["bias"]) == 1
    endless = few()
    dataclasses.replace(method, tolerance=0.0, target=0.123)(learner(endless), endless)
    assert len(endless.record.tables["bias"]) == 10


def test_bias_unlearn_swaps_the_answers_below_the_target(few):
    """The model that always prefers corrected answers is taught the biased ones from the second step on."""
    steps = {"epochs": 3, "check_every": 1, "forget_weight": 0.0, "correct_weight": 1.0}
    problem = few()
    below = dataclasses.replace(BIAS, **steps, target=1.0)(learner(problem), problem)
    assert problem.record.tables["bias"][0]["swapped"] == 1.0
    other = few()
    above = dataclasses.replace(BIAS, **steps, target=0.0)(learner(other), other)
    assert other.record.tables["bias"][0]["swapped"] == 0.0

    def biased(model):
        with torch.no_grad():
            return float(summed_loss(problem.predict(model, at(problem, problem.forget))).mean())

    assert biased(below) < biased(above)


def test_bias_is_scored_on_validation_rows_whose_corrected_answer_differs(few):
    problem = few()
    data, index = problem.task.data, differing(problem)
    validation = problem.validation
    expected = validation[data.labels[validation] != data.labels[validation + len(data.rows)]].tolist()
    assert index.tolist() == expected and 0 < len(index) < len(problem.validation)

    def mean_loss(place):
        with torch.no_grad():
            found = problem.predict(problem.reference, at(problem, np.array([place])))
        return float(torch.nn.functional.cross_entropy(found.logits, found.labels))

    own, corrected = ([mean_loss(place) for place in places] for places in (index, problem.corrected(index)))
    preferred_own = [a < b for a, b in zip(own, corrected, strict=True)]
    assert BIAS.score(problem, problem.reference, index) == pytest.approx(np.mean(preferred_own))
    assert 0 < sum(preferred_own) < len(index)
