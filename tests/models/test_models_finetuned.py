"""A fine-tuned language model as the original: whole or as an adapter, read without code, and nothing that misfits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.models import weights
from unlearnbench.models.start import as_retrained
from worlds import llama, pretrained_at

INFO = DataInfo(kind="text", classes=("yes", "no"), train=10, test=10, shape=())
TOKENS = torch.tensor([[1, 5, 7, 300, 9]])
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "rank_pattern": {"down_proj": 2}}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def write_adapter(base: torch.nn.Module, to: Path, **changes: object) -> None:
    """Write an adapter of random numbers, as peft does."""
    adapted = get_peft_model(copy.deepcopy(base), LoraConfig(task_type="CAUSAL_LM", **{**LORA, **changes}))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) / 10)
    adapted.save_pretrained(to)


@pytest.fixture
def mine(tmp_path: Path) -> SimpleNamespace:
    """A base in 16 bits, and what was trained from it: a whole model in 32 bits, and an adapter."""
    torch.manual_seed(0)
    base = llama().build(INFO).to(torch.bfloat16)
    whole = copy.deepcopy(base).float()
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.add_(torch.randn_like(parameter) / 20)
    places = SimpleNamespace(base=tmp_path / "base", whole=tmp_path / "whole", adapter=tmp_path / "adapter")
    base.save_pretrained(places.base)
    whole.save_pretrained(places.whole)
    write_adapter(base, places.adapter, use_rslora=True)
    llama().tokenizer(["some words to learn"]).save_pretrained(places.base)
    return places


def spec_of(mine: SimpleNamespace, name: str = "whole", **changes: object):
    return pretrained_at(mine.base, **{"checkpoint": getattr(mine, name), "base": None, **changes})


def refused(mine: SimpleNamespace, name: str = "whole") -> str:
    with pytest.raises(UserError) as caught:
        spec_of(mine, name).check()
    assert f"model.checkpoint={getattr(mine, name)}" in str(caught.value) and "Try: " in str(caught.value)
    return str(caught.value)


def test_a_whole_model_is_read_in_its_own_format_and_an_adapter_is_merged_as_peft_does(mine):
    for name in ("whole", "adapter"):
        spec_of(mine, name).check()
    whole = spec_of(mine).finetuned(INFO)
    assert whole.dtype == torch.float32  # type: ignore[comparison-overlap]
    assert torch.equal(logits(whole), logits(AutoModelForCausalLM.from_pretrained(mine.whole)))
    base = AutoModelForCausalLM.from_pretrained(mine.base, dtype="auto")
    peft = PeftModel.from_pretrained(copy.deepcopy(base), mine.adapter).merge_and_unload()
    adapted = spec_of(mine, "adapter").finetuned(INFO)
    assert torch.equal(logits(adapted), logits(peft)) and not torch.equal(logits(adapted), logits(base))
    assert torch.equal(logits(spec_of(mine, "adapter").start(INFO)), logits(base))


def test_what_is_kept_of_a_model_in_another_format_comes_back_unrounded(mine):
    model = spec_of(mine).finetuned(INFO)
    again = weights.restore(spec_of(mine).build(INFO), weights.state_of(model))
    assert torch.equal(logits(again), logits(model))


def test_the_content_of_the_checkpoint_is_in_the_key_and_its_place_is_not(mine, tmp_path):
    before = digest(spec_of(mine, "adapter"))
    mine.adapter.rename(tmp_path / "moved")
    mine.adapter = tmp_path / "moved"
    assert digest(spec_of(mine, "adapter")) == before != digest(spec_of(mine))
    file = mine.adapter / "adapter_model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(file).items()}, file)
    assert digest(spec_of(mine, "adapter")) != before
    retrained = digest(as_retrained(spec_of(mine)))
    assert retrained == digest(as_retrained(spec_of(mine, "adapter", base="unknown")))
    assert retrained == digest(as_retrained(pretrained_at(mine.base)))


def test_all_roles_speak_with_the_tokenizer_that_the_checkpoint_brings(mine):
    spec = spec_of(mine)
    assert spec.note() == "" and spec.tokenizer(()).chat_template
    other = AutoTokenizer.from_pretrained(mine.base)
    other.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    other.save_pretrained(mine.whole)
    spec.check()
    assert spec.tokenizer(()).chat_template == other.chat_template
    assert "tokenizer and chat template of" in spec.note()
    assert digest(as_retrained(spec)) == digest(as_retrained(pretrained_at(mine.base)))  # the task's key has it
    other.add_tokens([f"word{number}" for number in range(400)])
    other.save_pretrained(mine.whole)
    assert "resize_token_embeddings" in refused(mine)


def test_a_checkpoint_of_another_architecture_is_refused(mine, tmp_path):
    mine.other = tmp_path / "other"
    for change in ({"hidden": 24}, {"vocabulary": 700}, {"layers": 3}):
        torch.manual_seed(0)
        values = {"hidden": 16, "layers": 2, "heads": 2, "vocabulary": 600, **change}
        spec = type(llama())(**values, context=512, adapter=llama().adapter)
        spec.build(INFO).save_pretrained(mine.other)
        assert "is another architecture" in refused(mine, "other")
        write_adapter(spec.build(INFO), mine.adapter)
        if "vocabulary" not in change:
            assert "model that the adapter was trained on" in refused(mine, "adapter")
        (mine.other / "model.safetensors").unlink()


def test_heads_that_no_shape_shows_are_compared(mine):
    file = mine.whole / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_attention_heads": 4, "head_dim": 4}))
    assert "num_attention_heads=4" in refused(mine)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peft_type": "IA3"}, "of the kind IA3"),
        ({"use_dora": True}, "says use_dora=True"),
        ({"modules_to_save": ["lm_head"]}, "says modules_to_save"),
        ({"auto_mapping": {"parent_library": "os"}}, "says auto_mapping"),
        ({"megatron_core": "antigravity"}, "says megatron_core"),
        ({"something_new": {"run": "me"}}, "says something_new"),
        ({"lora_alpha": "8"}, "expected a number"),
        ({"lora_alpha": float("nan")}, "expected a number"),
        ({"alpha_pattern": {"(a+)+$": 8}}, "expected names"),
    ],
)  # fmt: skip
def test_an_adapter_of_more_than_plain_lora_is_refused(mine, change, says):
    file = mine.adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert says in refused(mine, "adapter")


def test_patterns_of_an_adapter_are_never_used(mine):
    expected = logits(spec_of(mine, "adapter").finetuned(INFO))
    file = mine.adapter / "adapter_config.json"
    odd = {"target_modules": "(.*)*", "rank_pattern": {"(a+)+$": 9}, "r": 10**9, "exclude_modules": "(.*)*x"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **odd}))
    spec_of(mine, "adapter").check()
    assert torch.equal(logits(spec_of(mine, "adapter").finetuned(INFO)), expected)


def test_damaged_folders_are_refused(mine, tmp_path):
    file = mine.adapter / "adapter_model.safetensors"
    state = load_file(file)
    name = next(iter(state))
    for change, says in (
        ({name: torch.full_like(state[name], float("nan"))}, "not finite"),
        ({"base_model.model.lm_head.weight": torch.zeros(3, 3)}, "is not plain LoRA"),
        ({name: torch.zeros(3, 5)}, "shape"),
    ):
        save_file({**state, **change}, file)
        assert says in refused(mine, "adapter")
    save_file({key: tensor for key, tensor in state.items() if key != name}, file)
    refused(mine, "adapter")
    file.unlink()
    assert "pickled weights are not read" in refused(mine, "adapter")
    mine.none = tmp_path / "none"
    assert "is not a folder" in refused(mine, "none")
    mine.none.mkdir()
    assert "neither config.json nor adapter_config.json" in refused(mine, "none")
    (mine.whole / "model.safetensors").unlink()
    with pytest.raises(UserError, match="safetensors"):
        spec_of(mine).check()


def test_weights_that_original_and_retrained_would_share_need_a_word_about_them(mine):
    for changes in ({"path": mine.whole}, {"path": None, "hub": "me/mine"}, {"path": None, "package": "mine"}):
        with pytest.raises(UserError, match=r"model\.checkpoint=(.|\n)*model\.base=clean(.|\n)*model\.base=unknown"):
            pretrained_at(changes.pop("path"), base=None, **changes).check()
    with pytest.raises(UserError, match=r"is an adapter(.|\n)*Try: model\.path=BASE model\.checkpoint="):
        pretrained_at(mine.adapter, base="clean").check()
    with pytest.raises(UserError, match="not a folder with a config"):
        pretrained_at(mine.base / "nowhere", base=None).check()
    for base in ("clean", "unknown"):
        pretrained_at(mine.base, base=base).check()
    spec_of(mine).check()
