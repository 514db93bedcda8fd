"""Frozen models: a reference and a teacher give the same output twice, bit for bit, also while the student trains."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from toys import made
from unlearnbench.contracts import Batch, Dataset, ModelSpec
from unlearnbench.forget.classes import ByClass
from unlearnbench.forget.column import Column
from unlearnbench.models import adapter
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.llama import Pretrained
from unlearnbench.models.resnet9 import ResNet9
from unlearnbench.problem import Problem
from unlearnbench.stages.unlearn import Unlearn
from unlearnbench.training.losses import cross_entropy
from unlearnbench.training.recipe import Recipe
from worlds import ADAMW, LORA, NO_ADAPTER, SGD, llama, notes, synthetic, text_task, trained, world

TOKENS = torch.tensor([[1, 5, 7, 300, 9]])
DROPPING = replace(LORA, dropout=0.5)


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=TOKENS).logits
    return found


def gpt2() -> nn.Module:
    """A GPT-2 with the dropout that its authors train with, on residuals, attention and embeddings."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=600, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    assert config.resid_pdrop == config.attn_pdrop == config.embd_pdrop == 0.1
    return GPT2LMHeadModel(config)


def test_the_reference_under_an_adapter_is_the_original_in_evaluation_mode() -> None:
    original = gpt2().eval()
    expected = logits(original)
    student = adapter.attach(copy.deepcopy(original), replace(DROPPING, targets=("c_attn",))).train()
    reference = AdapterOff(student)
    found = [logits(reference) for _ in range(5)]
    assert all(torch.equal(one, expected) for one in found)
    assert not torch.equal(logits(student), logits(student))  # the student does drop


def test_every_module_keeps_the_mode_that_it_had() -> None:
    student = adapter.attach(gpt2(), replace(DROPPING, targets=("c_attn",))).train()
    for number, module in enumerate(student.modules()):
        module.training = number % 3 != 0
    before = [module.training for module in student.modules()]
    logits(AdapterOff(student))
    assert [module.training for module in student.modules()] == before
    with pytest.raises(ValueError, match="input_ids"):
        AdapterOff(student)()
    assert [module.training for module in student.modules()] == before


def test_a_look_at_the_reference_changes_nothing_of_the_students_step() -> None:
    model = gpt2()
    model.activation_checkpointing_enable()
    student = adapter.attach(model, replace(DROPPING, targets=("c_attn",))).train()
    reference, gradients = AdapterOff(student), []
    for looks in (0, 2):
        student.zero_grad()
        torch.manual_seed(3)
        loss = student(input_ids=TOKENS).logits.square().mean()
        for _ in range(looks):
            logits(reference)
        loss.backward()
        gradients.append([p.grad.clone() for p in student.parameters() if p.grad is not None])
    assert gradients[0] and all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Train on the forget set, and look twice at each frozen model at every step."""

    kinds: ClassVar[frozenset[str]] = frozenset({"image", "text"})
    seen: dict[str, list[bool]] = field(default_factory=dict)

    def __call__(self, model: nn.Module, problem: Problem) -> nn.Module:
        frozen = {"reference": problem.reference, "random": problem.random()}

        def loss(forget: Batch) -> Tensor:
            assert model.training
            for name, one in frozen.items():
                with torch.no_grad():
                    first, second = (problem.predict(one, forget).logits for _ in range(2))
                self.seen.setdefault(name, []).append(torch.equal(first, second))
            return cross_entropy(problem.predict(model, forget))

        batches = problem.batches(problem.forget, size=8, epochs=1)
        return problem.optimize(model, loss, batches, replace(SGD, max_steps=3))


def folder_with_dropout(folder: Path) -> Path:
    """Write a LLaMA whose attention drops, as anybody's configuration may say."""
    torch.manual_seed(0)
    model = llama().build(notes().info())
    model.config.attention_dropout = 0.2  # type: ignore[union-attr]
    model.save_pretrained(folder)  # type: ignore[operator]
    text_task().encoder.tokenizer.save_pretrained(folder)
    return folder


def pretrained(folder: Path, adapter_: adapter.Adapter, checkpointing: bool = False) -> Pretrained:
    return Pretrained(
        path=folder_with_dropout(folder), hub=None, revision=None, package=None, checkpoint=None, base="clean",
        adapter=adapter_, load_in_4bit=False,
        gradient_checkpointing=checkpointing,
    )  # fmt: skip


Case = Callable[[Path], tuple[Dataset, ModelSpec, Recipe]]
TEXT = Recipe(epochs=1, batch_size=32, label_smoothing=0.0, optimizer=replace(ADAMW, max_steps=2))
IMAGES = Recipe(epochs=1, batch_size=60, label_smoothing=0.0, optimizer=replace(SGD, max_steps=1))
CASES: dict[str, Case] = {
    "an adapter that drops": lambda _folder: (notes(), llama(DROPPING), TEXT),
    "a model that drops, under an adapter": lambda folder: (notes(), pretrained(folder, DROPPING), TEXT),
    "the same, with gradient checkpointing": lambda folder: (notes(), pretrained(folder, DROPPING, True), TEXT),
    "all weights of a model that drops": lambda folder: (notes(), pretrained(folder, NO_ADAPTER), TEXT),
    "images, dropout and batch norm": lambda _folder: (
        synthetic(side=16, train=120, test=20),
        ResNet9(dropout=0.5, checkpoint=None),
        IMAGES,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_frozen_models_are_the_same_at_every_look_while_the_student_trains(name: str, tmp_path: Path) -> None:
    dataset, model, recipe = CASES[name](tmp_path / "mine")
    text = "text" in model.kinds
    forget = Column(column="is_biased", value=True, fraction=1.0, seed=0) if text else ByClass(classes=(0,), seed=0)
    here, method = world(dataset, dataset.load(), model, forget, generate=0), Probe()
    made(tmp_path / "cache", Unlearn(trained(here, "original", recipe), here, method, recipe))
    assert method.seen == {"reference": [True] * 3, "random": [True] * 3}
