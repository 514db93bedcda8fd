"""Stored scores equal those that plain transformers computes from the saved model, whatever the architecture."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, built
from torch.nn import functional

from unlearnbench.machine.precision import Precision
from unlearnbench.models import adapter
from unlearnbench.models.adapter import Adapter
from unlearnbench.models.modes import Mode
from unlearnbench.models.pretrained import named_parts
from unlearnbench.tasks.options import BRANCHED, goes_by_length, may_branch
from unlearnbench.tasks.text import TextTask
from worlds import LORA, llama, text_task

PLAIN = {"mistral_window", "qwen2_window", "phi3_window", "phi3_long", "gemma2", "gemma3", "gpt_neo"}
PLAIN |= {"gemma2_wide", "gpt_neo_wide", "opt", "bloom", "falcon", "falcon_alibi", "mpt"}


@pytest.fixture(scope="module")
def world():
    return text_task(limit=24, limit_test=24)


def task_of(world, bf16):
    return TextTask(world.data, world.encoder, Precision("cpu", bf16=bf16), llama(), 50, 0)


def plain_scores(folder, task, index, bf16):
    """Log-probabilities of the options, one forward pass each over a sequence of its own, the last layer in float32."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    head = model.get_output_embeddings()

    def exact(_module, given, _out):
        with torch.autocast("cpu", enabled=False):
            bias = None if head.bias is None else head.bias.float()
            return functional.linear(given[0].float(), head.weight.float(), bias)

    head.register_forward_hook(exact)
    found = np.full((len(index), len(task.data.info.classes)), -np.inf)
    for place, position in enumerate(index.tolist()):
        for column, text in enumerate(task.data.rows[position].options):
            if text is None:
                continue
            turns = [
                {"role": "user", "content": task.data.rows[position].prompt}, {"role": "assistant", "content": text},
            ]  # fmt: skip
            tokens = task.encoder.tokenizer.apply_chat_template(turns, return_dict=False)
            start = len(task.encoder.tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
                logits = model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
            picked = logits[range(start - 1, len(tokens) - 1), tokens[start:]]
            found[place, column] = picked.double().sum()
    return found


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stored_scores_equal_plain_transformers_over_the_saved_model(world, tmp_path, name, bf16):
    task, index = task_of(world, bf16), world.data.test[:5]
    model = task.prepare(built(name)).eval()
    scores = task.score(model, index).logits
    task.save(model, tmp_path)
    expected = plain_scores(tmp_path, task, index, bf16)
    assert (np.isfinite(scores) == np.isfinite(expected)).all()
    mine, theirs = scores[np.isfinite(expected)], expected[np.isfinite(expected)]
    assert np.abs(theirs).mean() > 100  # nats: what is compared is far from nothing
    np.testing.assert_allclose(mine, theirs, atol=0.05 if bf16 else 1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3", "olmo2"])
def test_frozen_bfloat16_weights_under_an_adapter_are_scored_as_they_are_saved(world, tmp_path, name):
    """The angles of rotary positions stay in float32, as they are in the model that is read back."""
    task = TextTask(world.data, world.encoder, Precision("cpu", bf16=True), llama(LORA), 50, 0)
    model, index = task.prepare(built(name)).eval(), world.data.test[:5]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    scores = task.score(model, index).logits
    task.save(model, tmp_path)
    expected = plain_scores(tmp_path, task, index, bf16=True)
    known = np.isfinite(expected)
    np.testing.assert_allclose(scores[known], expected[known], atol=0.02, rtol=0)


@pytest.mark.parametrize("name", ["falcon", "gpt2"])
def test_linear_layers_of_an_architectures_own_class_take_an_adapter(name):
    target = {"falcon": "query_key_value", "gpt2": "c_attn"}[name]
    wanted = Adapter(r=2, alpha=4, dropout=0.0, targets=(target,))
    model = built(name)
    adapter.check(model, wanted)
    adapter.attach(model, wanted)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_options_are_branches_in_architectures_and_windows_that_allow_it(world, name):
    longest = max(row.length for row in world.rows)
    config = built(name).config
    assert longest > 128 and may_branch(config, longest) == (name not in PLAIN)
    assert goes_by_length(config, longest) == (name == "phi3_long") and not goes_by_length(config, 16)


def test_every_architecture_with_branches_is_compared_with_plain_passes():
    assert {kind for name, (kind, _) in ARCHITECTURES.items() if name not in PLAIN} == BRANCHED


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parts_are_named_as_the_architecture_names_them(name):
    model = built(name)
    parts = named_parts(model)
    assert model.get_submodule(parts.head) is model.get_output_embeddings()
    assert model.get_submodule(parts.blocks[0]) is model.get_input_embeddings()
    assert len(model.get_submodule(parts.blocks[1])) == 2
    behind = type(model.get_submodule(parts.mask_layer)).__name__.lower()
    assert "norm" in behind or (name, parts.mask_layer) == ("opt", parts.blocks[1])  # OPT has its last norm before them


RATES = ("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "hidden_dropout", "dropout", "embed_dropout")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_student_without_dropout_equals_its_reference_in_training_mode(name):
    """As npo and distill compare them: no layer drops, whether a module of its own or a rate in its configuration."""
    model = built(name, **dict.fromkeys(RATES, 0.3))
    tokens = torch.arange(40)[None] % 600
    with torch.no_grad():
        reference = model(input_ids=tokens).logits
        Mode(dropout=False).enter(model)
        student = [model(input_ids=tokens).logits for _ in range(2)]
    assert torch.equal(student[0], student[1]) and torch.equal(student[0], reference)
