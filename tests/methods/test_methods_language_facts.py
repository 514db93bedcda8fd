"""One fact from the paper of each method that language models are unlearned with."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from unlearnbench.methods.grad_diff import GradDiff
from unlearnbench.methods.gradient_ascent import GradientAscent
from unlearnbench.methods.icul import Icul
from unlearnbench.methods.instruct import Instruct
from unlearnbench.methods.lora_negation import LoraNegation
from unlearnbench.methods.npo import Npo
from unlearnbench.methods.prompt import Prompt
from unlearnbench.methods.task_vector import TaskVector
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.start import trainable
from unlearnbench.techniques.preferences import summed_loss
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from worlds import LORA, llama, same_weights

ADAMW = Optimizer(name="adamw", lr=3e-3, clip_norm=1.0)
FAST = Optimizer(name="adamw", lr=2e-2, clip_norm=1.0)
PLAIN_SGD = Optimizer(name="sgd", lr=0.05)


@pytest.fixture
def student(tiny_text):
    """A copy of the original that a method may change."""
    return copy.deepcopy(tiny_text.original)


def nll(problem, model, index):
    """Mean over examples of the answer's summed cross-entropy."""
    with torch.no_grad():
        batches = problem.plain(np.asarray(index), 64)
        return float(torch.cat([summed_loss(problem.predict(model.eval(), batch)) for batch in batches]).mean())


def gradients(problem, model, loss, index):
    """The gradient of a loss over these examples, by parameter."""
    model = copy.deepcopy(model).train().requires_grad_(True)
    value = loss(problem.predict(model, problem.task.batch(index, None))).mean()
    return torch.autograd.grad(value, list(model.parameters()))


def one_step(before, lr, *terms):
    """What one step of plain descent makes of the weights: `terms` are weights of a loss and its gradients."""
    return [
        parameter.detach() - lr * sum(weight * slopes[number] for weight, slopes in terms)
        for number, parameter in enumerate(before.parameters())
    ]


def movement(before, after):
    """How the weights moved, (parameters,)."""
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return torch.cat([(new - old).detach().flatten() for old, new in pairs])


def assert_weights(model, expected):
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-4, atol=1e-6)


def npo(**changes):
    values = {
        "epochs": 2, "batch_size": 16, "batch_norm": "frozen", "beta": 0.1, "forget_weight": 1.0, "retain_weight": 1.0,
        "optimizer": ADAMW,
    }  # fmt: skip
    return Npo(**{**values, **changes})


def grad_diff(**changes):
    values = {
        "epochs": 2, "batch_size": 16, "batch_norm": "frozen", "forget_weight": 1.0, "retain_weight": 1.0,
        "optimizer": ADAMW,
    }  # fmt: skip
    return GradDiff(**{**values, **changes})


def task_vector(**changes):
    values = {"epochs": 1, "batch_size": 16, "batch_norm": "frozen", "strength": 1.0, "optimizer": ADAMW}
    return TaskVector(**{**values, **changes})


def instruct(**changes):
    return Instruct(**{"epochs": 6, "batch_size": 16, "retain_per_forget": 1.0, "optimizer": FAST, **changes})


@pytest.mark.parametrize("method", [npo(), grad_diff(), task_vector()], ids=["npo", "grad_diff", "task_vector"])
def test_the_forget_answers_become_less_likely(method, student, tiny_text, text_problem):
    problem = text_problem()
    before = nll(problem, tiny_text.original, problem.forget)
    assert nll(problem, method(student, problem), problem.forget) > before + 0.5


def test_npo_begins_as_gradient_ascent_on_whole_answers(student, tiny_text, text_problem):
    """Proposition 1: where model and reference agree the weight of every example is 1, whatever beta is."""
    problem = text_problem()
    few = text_problem(forget=problem.forget[:8], retain=problem.retain[:8])
    method = npo(epochs=1, beta=0.7, forget_weight=0.5, retain_weight=2.0, optimizer=PLAIN_SGD)
    up = gradients(few, tiny_text.original, summed_loss, few.forget)
    down = gradients(few, tiny_text.original, cross_entropy, few.retain)
    assert_weights(method(student, few), one_step(tiny_text.original, 0.05, (-0.5, up), (2.0, down)))


def test_npo_with_a_beta_near_zero_is_gradient_ascent_and_with_a_large_one_stops(tiny, tiny_problem):
    """On images an example has one row, so that both losses are the same mean; ten steps apart from the reference."""
    forget = tiny_problem().forget[:16]
    problem = tiny_problem(forget=forget, retain=tiny_problem().retain[:16])
    settings = {"epochs": 10, "batch_size": 16, "batch_norm": "train", "optimizer": Optimizer(name="sgd", lr=0.01)}
    ascended = GradientAscent(**settings)(copy.deepcopy(tiny.original), problem)
    near_zero, large = (
        npo(**settings, beta=beta, retain_weight=0.0)(copy.deepcopy(tiny.original), problem) for beta in (1e-3, 10.0)
    )
    moved = [movement(tiny.original, model) for model in (ascended, near_zero, large)]
    assert float((moved[1] - moved[0]).norm()) < 0.02 * float(moved[0].norm())
    assert float(moved[2].norm()) < 0.7 * float(moved[0].norm())


def test_grad_diff_is_one_step_up_on_forget_and_one_down_on_retain(student, tiny_text, text_problem):
    problem = text_problem()
    few = text_problem(forget=problem.forget[:8], retain=problem.retain[:8])
    method = grad_diff(epochs=1, forget_weight=0.5, retain_weight=2.0, optimizer=PLAIN_SGD)
    up = gradients(few, tiny_text.original, cross_entropy, few.forget)
    down = gradients(few, tiny_text.original, cross_entropy, few.retain)
    assert_weights(method(student, few), one_step(tiny_text.original, 0.05, (-0.5, up), (2.0, down)))


def reinforced(problem, model, method):
    """The model trained further on the forget set, as a negating method trains it."""

    def loss(batch):
        return cross_entropy(problem.predict(model, batch))

    batches = problem.batches(problem.forget, size=method.batch_size, epochs=method.epochs)
    return problem.optimize(model, loss, batches, method.optimizer)


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_task_vector_steps_back_by_what_the_forget_set_would_change(strength, student, tiny_text, text_problem):
    method = task_vector(strength=strength)
    trained = reinforced(text_problem(), copy.deepcopy(tiny_text.original), method)
    pairs = zip(tiny_text.original.parameters(), trained.parameters(), strict=True)
    expected = [(old - strength * (new - old)).detach() for old, new in pairs]
    assert_weights(method(student, text_problem()), expected)
    assert nll(text_problem(), trained, text_problem().forget) < nll(
        text_problem(), tiny_text.original, text_problem().forget
    )


def test_task_vector_of_strength_zero_is_the_original(student, tiny_text, text_problem):
    assert same_weights(task_vector(strength=0.0)(student, text_problem()), tiny_text.original)


def test_lora_negation_negates_the_adapter_that_the_forget_set_trains(tiny_text, text_problem):
    method = LoraNegation(epochs=4, batch_size=16, strength=0.5, optimizer=Optimizer(name="adamw", lr=1e-2))
    worlds = []
    for _ in range(2):
        torch.manual_seed(0)
        model = trainable(llama(LORA), copy.deepcopy(tiny_text.original))
        worlds.append((model, text_problem(spec=llama(LORA), reference=AdapterOff(model))))
    (first, problem), (second, other) = worlds
    before = nll(problem, tiny_text.original, problem.forget)
    trained, negated = reinforced(problem, first, method), method(second, other)
    assert nll(problem, trained, problem.forget) < before < nll(other, negated, other.forget)
    for (name, plus), (_, minus) in zip(trained.named_parameters(), negated.named_parameters(), strict=True):
        torch.testing.assert_close(minus, -0.5 * plus if "lora_B" in name else plus)


def corrected_share(problem, model):
    scores = problem.task.score(model, problem.forget)
    return float((scores.prediction == scores.extras["corrected"]).mean())


@pytest.mark.parametrize("retain_per_forget", [0.0, 1.0])
def test_instruct_teaches_the_corrected_answers(retain_per_forget, tiny_text, text_problem):
    """From a model that first learnt to give every forget row its biased answer."""
    problem = text_problem()
    biased = reinforced(problem, copy.deepcopy(tiny_text.original), instruct(epochs=10))
    assert corrected_share(problem, biased) < 0.2
    before = nll(problem, biased, problem.corrected(problem.forget))
    problem = text_problem()
    model = instruct(retain_per_forget=retain_per_forget)(copy.deepcopy(biased), problem)
    assert corrected_share(problem, model) > 0.6
    assert nll(problem, model, problem.corrected(problem.forget)) < before - 0.5
    assert problem.record.examples == 6 * round((1 + retain_per_forget) * len(problem.forget))


def shown(model, task):
    """The conversation that a prompted model sees before the question."""
    return task.encoder.tokenizer.decode(model.prefix.tolist())


def test_icul_shows_forget_rows_corrected_and_retain_rows_as_they_are(student, tiny_text, text_problem):
    contexts = 2
    problem, data = text_problem(), tiny_text.data
    conversation = shown(Icul(contexts=contexts)(student, problem), problem.task)
    solved = [(place, data.rows[place].prompt) for place in (*problem.forget, *problem.retain)]
    found = [place for place, prompt in solved if prompt in conversation]
    assert len(found) == contexts and np.isin(found, problem.forget).sum() == contexts // 2
    for place in found:
        answer = conversation.split(data.rows[place].prompt)[1].split("<|assistant|>")[1]
        is_forget = place in problem.forget
        assert answer.startswith(data.answer(place + len(data.rows)) if is_forget else data.answer(place))
        assert is_forget == (data.answer(place) != data.answer(place + len(data.rows)))


def test_prompt_stands_before_the_question_as_a_system_message(student, text_problem):
    problem = text_problem()
    method = Prompt(name="fair", text=None, prompts={"fair": "Judge the facts alone.", "other": "Forget."})
    conversation = shown(method(student, problem), problem.task)
    assert "Judge the facts alone." in conversation and "Forget." not in conversation
    assert (
        conversation.index("<|system|>") < conversation.index("Judge the facts alone.") < conversation.index("<|user|>")
    )
