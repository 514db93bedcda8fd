"""An exported model is read by timm, transformers, peft and plain torch, and says the same."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.contracts import DataInfo
from unlearnbench.errors import UserError
from unlearnbench.graph.artefact import Computed
from unlearnbench.models import adapter, masks, saved, weights
from unlearnbench.request.config import build
from unlearnbench.results.forms import Exported
from unlearnbench.results.model import model_in, write_model
from worlds import LORA, image_info, llama

TINY = {"_target_": "unlearnbench.models.tiny.TinyCNN", "checkpoint": None}
TOKENS = torch.tensor([[1, 5, 7, 300, 9]])


def timm_values(architecture: str, dropout: float = 0.0) -> dict[str, object]:
    return {
        "_target_": "unlearnbench.models.timm_model.TimmModel", "architecture": architecture, "dropout": dropout,
        "pretrained": False, "checkpoint": None, "base": None,
    }  # fmt: skip


def image_model(place: Path, values: dict[str, object], info: DataInfo, mask: str = "", **model: object) -> Exported:
    """Write a model of random weights as a run does."""
    torch.manual_seed(0)
    built = build(values, "model").build(info)
    if mask:
        masks.attach(built, mask, torch.ones(1, 1, 1))
    write_model(place, values, info, Computed(weights.state_of(built), {}))
    config = {"model": {**values, **model}, "dataset": {"mean": [0.5], "std": [0.25]}}
    return Exported(place / "model", config)


def logits(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(images)
    return found


def said(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def test_a_file_is_read_by_plain_torch(tmp_path):
    exported = image_model(tmp_path, TINY, image_info(8, 1, 4))
    assert exported.file(tmp_path / "a.safetensors", ".safetensors") == exported.file(tmp_path / "a.pt", ".pt") == []
    for state in (load_file(tmp_path / "a.safetensors"), torch.load(tmp_path / "a.pt", weights_only=True)):
        model = copy.deepcopy(model_in(exported.source))
        for parameter in model.parameters():
            parameter.data.zero_()
        model.load_state_dict(state, strict=True)
        images = torch.rand(2, 1, 8, 8)
        assert torch.equal(logits(model, images), logits(model_in(exported.source), images))


@pytest.mark.parametrize(
    ("architecture", "side", "channels"),
    [("resnet10t", 32, 3), ("vit_tiny_patch16_224.augreg_in21k", 32, 1), ("efficientformerv2_s0", 32, 3)],
)
def test_a_folder_of_a_timm_model_is_read_by_timm(tmp_path, architecture, side, channels):
    exported = image_model(tmp_path, timm_values(architecture, 0.2), image_info(side, channels, 7))
    exported.folder(tmp_path / "given")
    model = timm.create_model(f"local-dir:{tmp_path / 'given'}", pretrained=True)
    images = torch.rand(2, channels, side, side)
    assert torch.equal(logits(model, images), logits(model_in(exported.source), images))
    found = model.pretrained_cfg
    assert tuple(found["input_size"]) == (channels, side, side) and len(found["label_names"]) == 7
    assert list(found["mean"]) == [0.5] * channels and list(found["std"]) == [0.25] * channels
    other = timm.create_model(f"local-dir:{tmp_path / 'given'}", pretrained=True, num_classes=2)
    assert logits(other, images).shape == (2, 2)


def test_a_folder_of_another_image_model_is_ours(tmp_path):
    exported = image_model(tmp_path, TINY, image_info(8, 1, 4))
    exported.folder(tmp_path / "given")
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(logits(model_in(tmp_path / "given"), images), logits(model_in(exported.source), images))


def test_weights_go_back_in_the_wrapper_of_the_checkpoint(tmp_path):
    file = tmp_path / "mine.pth"
    exported = image_model(tmp_path, TINY, image_info(8, 1, 4), checkpoint=str(file))
    own = model_in(exported.source).state_dict()
    ways = (
        ((), ""), (("state_dict",), "module."), (("model",), ""), ((), "module._orig_mod."),
        (("state_dict",), "model."),
    )  # fmt: skip
    for nests, prefix in ways:
        state: object = {prefix + name: tensor for name, tensor in own.items()}
        for nest in nests:
            state = {nest: state, "epoch": 3}
        torch.save(state, file)
        told = exported.file(tmp_path / "given.pt", ".pt")
        found = torch.load(tmp_path / "given.pt", weights_only=True)
        for nest in nests:
            assert set(found) == {nest}
            found = found[nest]
        assert {f"{prefix}{name}" for name in own} == set(found) and bool(told) == bool(nests or prefix)
        assert all(torch.equal(found[prefix + name], tensor) for name, tensor in own.items())
    file.unlink()
    assert "is gone" in exported.file(tmp_path / "given.pt", ".pt")[0]
    assert set(torch.load(tmp_path / "given.pt", weights_only=True)) == set(own)


def test_a_mask_is_not_lost_on_the_way(tmp_path):
    exported = image_model(tmp_path, TINY, image_info(8, 1, 4), mask="features")
    with pytest.raises(UserError, match="a mask of 0 and 1"):
        exported.file(tmp_path / "a.pt", ".pt")
    exported.folder(tmp_path / "given")
    assert any(masks.is_mask(name) for name in model_in(tmp_path / "given").state_dict())


@pytest.fixture
def language(tmp_path: Path, tiny_text) -> tuple[Exported, torch.nn.Module]:
    """A model in a run's folder, unlearned by an adapter; and the merged model."""
    original = copy.deepcopy(tiny_text.original)
    torch.manual_seed(0)
    student = adapter.attach(copy.deepcopy(original), LORA)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    artefact = Computed(weights.state_of(student), {"adapter": True})
    merged = weights.merged(student)
    place = tmp_path / "run" / "model"
    saved.write(place, merged, tiny_text.task, llama(LORA), artefact, lambda: original, place)
    return Exported(place, {"model": {"checkpoint": None, "path": None, "hub": None}}), merged


def test_a_language_model_is_read_by_transformers(language, tmp_path):
    exported, merged = language
    assert exported.folder(tmp_path / "given") == []
    assert torch.equal(said(AutoModelForCausalLM.from_pretrained(tmp_path / "given")), said(merged))
    assert AutoTokenizer.from_pretrained(tmp_path / "given").chat_template
    assert not [entry for entry in (tmp_path / "given").iterdir() if entry.is_dir()]
    with pytest.raises(UserError, match="Try: --to FOLDER"):
        exported.file(tmp_path / "a.pt", ".pt")


def test_an_adapter_alone_is_read_by_peft_on_the_model_it_belongs_to(language, tmp_path):
    exported, merged = language
    assert str(exported.source / "original") in exported.adapter(tmp_path / "given")[0]
    assert sorted(file.name for file in (tmp_path / "given").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "given")
    torch.testing.assert_close(said(found), said(merged), atol=1e-5, rtol=1e-4)
    whole = AutoModelForCausalLM.from_pretrained(exported.source / "original")
    whole.save_pretrained(tmp_path / "finetuned")
    own = Exported(exported.source, {"model": {"checkpoint": str(tmp_path / "finetuned")}})
    assert str(tmp_path / "finetuned") in own.adapter(tmp_path / "again")[0]
    named = json.loads((tmp_path / "again" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(tmp_path / "finetuned")


def test_a_model_without_an_adapter_says_so(language, tmp_path):
    exported, _ = language
    shutil.rmtree(exported.source / "original")
    with pytest.raises(UserError, match="save_model=true"):
        exported.adapter(tmp_path / "given")
    shutil.rmtree(exported.source / "adapter")
    with pytest.raises(UserError, match="without --adapter"):
        exported.adapter(tmp_path / "given")


def test_a_prompt_is_mentioned(language, tmp_path):
    exported, _ = language
    (exported.source / saved.PROMPT).write_bytes(b"x")
    assert "transformers does not read" in exported.folder(tmp_path / "given")[0]
