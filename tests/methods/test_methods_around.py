"""Methods that leave the weights alone and put something around the model: soft_prompt, eco, guardrail."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Computed
from unlearnbench.methods.eco import Eco
from unlearnbench.methods.guardrail import Guardrail
from unlearnbench.methods.soft_prompt import SoftPrompt
from unlearnbench.models import saved, weights
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.prefix import Prefixed
from unlearnbench.models.prefix import SoftPrompt as Prompted
from unlearnbench.models.screened import Corrupted, Detector, Withheld, padded, prompt_features
from unlearnbench.models.start import trainable
from unlearnbench.models.wrapper import inner
from unlearnbench.request.config import build
from unlearnbench.tasks.generation import greedy
from unlearnbench.techniques.detector import fitted, threshold
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.optimizer import Optimizer
from worlds import LORA, llama, same_weights, text_task

FAST = Optimizer(name="adamw", lr=0.05, clip_norm=1.0)
REFUSAL = "I cannot help with that."


def soft_prompt(**changes):
    values = {
        "length": 5, "epochs": 2, "batch_size": 16, "retain_weight": 0.5, "kl_weight": 0.5, "optimizer": FAST,
    }  # fmt: skip
    return SoftPrompt(**{**values, **changes})


METHODS = {
    "soft_prompt": soft_prompt(epochs=1),
    "eco": Eco(strength=4.0, false_alarms=0.0),
    "guardrail": Guardrail(refusal=REFUSAL, false_alarms=0.05),
}


@pytest.fixture
def student(tiny_text):
    """A copy of the original that a method may change."""
    return copy.deepcopy(tiny_text.original)


@pytest.fixture
def all_rows(tiny_text):
    """Some rows of every kind."""
    splits = tiny_text.splits
    return np.concatenate([splits.forget[:12], splits.retain[:12], splits.test[:12]])


def some_of(model, task, index):
    """Return a detector that fires on the half of some rows with the highest scores, by any direction."""
    torch.manual_seed(0)
    direction = Detector(torch.randn(2 * model.config.hidden_size), torch.tensor(0.0))
    screen = Corrupted(model, direction, torch.zeros(1, model.config.hidden_size))
    scores = direction.scores(features(screen, task, index))
    return Detector(direction.weight, -scores.median())


def features(screen, task, index):
    with torch.no_grad():
        return prompt_features(screen.model, *padded([task.prompt(int(place)) for place in index]))


def test_soft_prompt_learns_its_embeddings_alone(student, tiny_text, text_problem):
    problem = text_problem()
    model = soft_prompt()(student, problem)
    assert inner(model) is student and same_weights(student, tiny_text.original)
    assert model.embeddings.shape == (5, 16) and not weights.differ(inner(model), problem.reference)
    twins = problem.task.batch(problem.corrected(problem.forget), None)
    with torch.no_grad():
        before, after = (
            float(cross_entropy(problem.predict(one, twins)).mean()) for one in (tiny_text.original, model)
        )
    assert after < before
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_soft_prompt_starts_as_words_of_the_vocabulary(student, text_problem):
    still = soft_prompt(epochs=1, optimizer=Optimizer(name="sgd", lr=1e-30))
    embeddings = still(student, text_problem()).embeddings
    table = student.get_input_embeddings().weight
    assert all(bool((table == one).all(dim=1).any()) for one in embeddings)


def test_soft_prompt_takes_one_step_down_its_three_losses(student, tiny_text, text_problem):
    whole = text_problem()
    problem = text_problem(forget=whole.forget[:6], retain=whole.retain[:6])
    method = soft_prompt(
        epochs=1, retain_weight=0.7, kl_weight=0.3, optimizer=Optimizer(name="sgd", lr=0.5), batch_size=6
    )
    before = soft_prompt(epochs=1, optimizer=Optimizer(name="sgd", lr=1e-30))(copy.deepcopy(student), problem)
    words = before.embeddings.detach().clone().requires_grad_(True)

    def answer_logits(place, prompt):
        """Return the logits (t, c) and labels of one row's answer, computed alone."""
        tokens, answer = problem.task.prompt(place), problem.task.answer(place)
        seen = torch.cat([prompt, student.get_input_embeddings()(torch.tensor([*tokens, *answer]))])[None]
        logits = student(inputs_embeds=seen).logits[0, len(prompt) + len(tokens) - 1 : -1]
        return logits, torch.tensor(answer)

    def mean_loss(rows, divergence):
        found = [answer_logits(int(place), words) for place in rows]
        logits, labels = (torch.cat(each) for each in zip(*found, strict=True))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        if not divergence:
            return loss
        with torch.no_grad():
            plain = torch.cat([answer_logits(int(place), words[:0])[0] for place in rows]).log_softmax(dim=1)
        kl = (plain.exp() * (plain - logits.log_softmax(dim=1))).sum(dim=1).mean()
        return 0.7 * loss + 0.3 * kl

    total = mean_loss(problem.corrected(problem.forget), False) + mean_loss(problem.retain, True)
    (slope,) = torch.autograd.grad(total, [words])
    after = method(copy.deepcopy(student), problem)
    torch.testing.assert_close(after.embeddings, words - 0.5 * slope, rtol=1e-3, atol=1e-6)


def test_soft_prompt_of_no_length_is_refused():
    values = {**vars(soft_prompt()), "_target_": "unlearnbench.methods.soft_prompt.SoftPrompt"}
    values["optimizer"] = {"name": "sgd", "lr": 0.1}
    with pytest.raises(UserError, match=r"length"):
        build({**values, "length": 0}, "method")
    with pytest.raises(UserError, match=r"head_lr"):
        build({**values, "optimizer": {"name": "sgd", "lr": 0.1, "head_lr": 0.1}}, "method")


def test_soft_prompt_needs_corrected_answers(text_problem):
    assert "corrected answers" in soft_prompt().check(text_problem(twins=None))


def test_rows_are_cut_so_that_a_prompt_fits(tiny_text):
    task = text_task(limit=40, context=90)
    longest = max(len(row.prompt) + len(answer) for row in task.rows for answer in row.answers.values())
    shorter = task.before(30)
    assert longest <= 90
    assert max(row.length for row in shorter.rows) <= 60 and task.rows is not shorter.rows


def test_eco_without_strength_scores_as_the_original(student, tiny_text, text_problem, all_rows):
    model = Eco(strength=0.0, false_alarms=0.05)(student, text_problem())
    task = tiny_text.task
    before, after = task.score(tiny_text.original, all_rows), task.score(model, all_rows)
    assert (before.logits == after.logits).all()
    assert (before.extras["answer_hit"] == after.extras["answer_hit"]).all()


@pytest.mark.parametrize("method", ["corrupted", "withheld"])
def test_only_prompts_that_fire_are_answered_otherwise(method, tiny_text, all_rows):
    model, task = tiny_text.original, tiny_text.task
    detector = some_of(model, task, all_rows)
    if method == "corrupted":
        screen = Corrupted(model, detector, 0.5 * torch.randn(7, 16))
    else:
        screen = Withheld(model, detector, torch.tensor([4, 5]))
    fires = screen.judged([task.prompt(int(place)) for place in all_rows]).numpy()
    assert 0.4 < fires.mean() < 0.6
    before, after = task.score(model, all_rows), task.score(screen.eval(), all_rows)
    same = (before.logits == after.logits).all(axis=1)
    assert (same == ~fires).all()


def test_a_withheld_answer_says_nothing_of_the_options(tiny_text, all_rows):
    model, task = tiny_text.original, tiny_text.task
    always = Detector(torch.zeros(32), torch.tensor(1.0))
    scores = task.score(Withheld(model, always, torch.tensor([4])), all_rows)
    there = np.isfinite(scores.logits)
    even = 1 / there.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.probabilities[there], np.broadcast_to(even, there.shape)[there], atol=1e-3)
    first = (there.cumsum(axis=1) * there)[np.arange(len(scores)), scores.prediction]
    assert 0.2 < (first == 1).mean() < 0.8  # not always the option that comes first
    counted = scores.extras["option_tokens"][np.arange(len(scores)), scores.label]
    tokens = scores.extras["answer_log_probability"]
    np.testing.assert_allclose(np.nansum(tokens, axis=1), -counted * np.log(model.config.vocab_size), rtol=1e-5)


def test_screened_models_are_scored_alike_as_branches_and_apart(tiny_text, all_rows, monkeypatch):
    model, task = tiny_text.original, tiny_text.task
    screen = Corrupted(model, some_of(model, task, all_rows), torch.randn(7, 16))
    branches = task.score(screen, all_rows).logits
    monkeypatch.setattr("unlearnbench.tasks.scoring.may_branch", lambda *_what: False)
    np.testing.assert_allclose(task.score(screen, all_rows).logits, branches, rtol=1e-4)


def test_corruption_spares_the_answer_and_the_last_token_of_the_prompt(tiny_text):
    """Against the same model on embeddings that are corrupted by hand."""
    model, task = tiny_text.original, tiny_text.task
    always, noise = Detector(torch.zeros(32), torch.tensor(1.0)), torch.randn(3, 16)
    batch = task.batch(tiny_text.splits.retain[:1], None)
    prompt = task.prompt(int(batch.index[0]))
    seen = model.get_input_embeddings()(batch.inputs).detach().clone()
    for place in range(len(prompt) - 1):
        seen[0, place] += noise[place % 3]
    with torch.no_grad():
        expected = model(inputs_embeds=seen).logits[0, len(prompt) - 1 : -1]
        found = task.predict(Corrupted(model, always, noise), batch).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_around_the_model_survives_state_and_folder(name, student, tiny_text, text_problem, all_rows, tmp_path):
    task, spec = tiny_text.task, tiny_text.spec
    model = METHODS[name](student, text_problem()).eval()
    expected = task.score(model, all_rows).logits
    again = weights.restore(spec.build(tiny_text.data.info), weights.state_of(model)).eval()
    assert type(again) is type(model) and (task.score(again, all_rows).logits == expected).all()
    artefact = Computed(weights.state_of(model), {"adapter": False})
    saved.write(tmp_path / "run", model, task, spec, artefact, lambda: model, tmp_path / "run")
    read = saved.read(tmp_path / "run")
    assert (task.score(read, all_rows).logits == expected).all()
    assert all(name.startswith(f"{model.kind}.") for name in load_file(tmp_path / "run" / saved.PROMPT))


@pytest.mark.parametrize("name", METHODS)
def test_through_an_adapter_nothing_of_the_model_is_learnt(name, student, tiny_text, text_problem):
    torch.manual_seed(0)
    behind = trainable(llama(LORA), student)
    problem = text_problem(spec=llama(LORA), reference=AdapterOff(behind))
    model = METHODS[name](behind, problem)
    assert not weights.differ(inner(model), problem.reference) and weights.has_adapter(model)
    merged = weights.merged(model)
    assert type(merged) is type(model) and same_weights(inner(merged), tiny_text.original)


def test_a_screen_answers_in_writing_as_it_is_scored(tiny_text, all_rows):
    model, task = tiny_text.original, tiny_text.task
    prompts = [task.prompt(int(place)) for place in all_rows[::3]]
    detector = some_of(model, task, all_rows[::3])
    refusing = Withheld(model, detector, torch.tensor([7, 8, 9])).eval()
    plain = greedy(model, prompts, 4, 512, 0)
    written, fires = greedy(refusing, prompts, 4, 512, 0), refusing.judged(prompts).tolist()
    expected = zip(fires, plain, strict=True)
    assert written == [[7, 8, 9] if fire else tokens for fire, tokens in expected]
    silent = Corrupted(model, detector, torch.zeros(1, 16)).eval()
    assert greedy(silent, prompts, 4, 512, 0) == plain
    noisy = Corrupted(model, detector, 3 * torch.randn(5, 16)).eval()
    changed = [one != other for one, other in zip(greedy(noisy, prompts, 4, 512, 0), plain, strict=True)]
    assert not any(change and not fire for change, fire in zip(changed, fires, strict=True))


def test_a_soft_prompt_of_words_is_the_prompt_of_those_words(tiny_text):
    model, task, words = tiny_text.original, tiny_text.task, torch.tensor([30, 40, 50])
    opening = torch.tensor(task.opening)
    hard = Prefixed(model, torch.cat([words, opening]), len(opening)).eval()
    soft = Prompted(model, model.get_input_embeddings()(words).detach()).eval()
    index = tiny_text.splits.retain[:6]
    np.testing.assert_allclose(task.score(soft, index).logits, task.score(hard, index).logits, rtol=1e-5)
    prompts = [task.prompt(int(place)) for place in index]
    assert greedy(soft, prompts, 5, 512, 0) == greedy(hard, prompts, 5, 512, 0)


def test_eco_takes_the_smallest_strength_that_reaches_chance(student, text_problem):
    problem = text_problem()
    Eco(strength=None, false_alarms=0.05)(student, problem)
    rows = problem.record.tables["strength"]
    assert all(row["forget_loss"] < row["surrogate"] for row in rows[:-1])
    assert rows[-1]["forget_loss"] >= rows[-1]["surrogate"] or len(rows) == 7
    assert [row["chosen"] for row in rows] == [0.0] * (len(rows) - 1) + [1.0]
    facts = problem.record.tables["detector"][0]
    assert facts.keys() == {"forget_fires", "retain_fires", "validation_fires", "training_accuracy"}
    assert facts["training_accuracy"] > 0.7


def test_a_detector_tells_two_kinds_apart_and_keeps_its_false_alarms():
    rng = np.random.default_rng(0)
    forget, retain = rng.normal(1.5, 1, (60, 6)), rng.normal(-1.5, 1, (200, 6))
    held = rng.normal(0.3, 1, (99, 6))  # nearer to forget than retain is

    def fires(found, some):
        return float((found.scores(torch.from_numpy(some).float()) > 0).float().mean())

    strict, loose = (fitted(forget, retain, held, share) for share in (0.05, 0.5))
    assert fires(strict, held) <= 0.05 < fires(loose, held) <= 0.5
    assert fires(loose, forget) > 0.95 and fires(loose, retain) == 0.0
    assert fires(fitted(forget, retain, held[:0], 0.05), forget) == 1.0  # without validation rows: more likely than not


def test_the_threshold_is_the_conformal_quantile():
    scores = np.arange(1.0, 20.0)  # 19 of them: a twentieth exceeds the highest with probability .05
    assert threshold(scores, 0.05) == 19.0
    assert threshold(scores, 0.1) == 18.0
    assert threshold(scores[:3], 0.05) == 3.0 and threshold(scores[:0], 0.05) == 0.0
