"""Models in 4 bits, on a CPU: whole runs, and the model that was scored is the model that is saved."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import unlearnbench
from unlearnbench.contracts import DataInfo
from unlearnbench.data.clinical_notes import CLASSES
from unlearnbench.errors import UserError
from unlearnbench.models import adapter, four_bit, weights
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.llama import Pretrained
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.tasks import bind
from worlds import CPU, LORA, llama, notes, text_task

pytestmark = pytest.mark.slow

pytest.importorskip("bitsandbytes")
INFO = DataInfo(kind="text", classes=CLASSES, train=10, test=10, shape=())
TOKENS = torch.tensor([[1, 5, 7, 300, 9]])
WORDS = (
    "dataset=clinical_notes", "dataset.limit=120", "dataset.limit_test=48", "dataset.limit_validation=20",
    "model=smollm2_135m", "model.load_in_4bit=true", "model.adapter.r=4", "model.adapter.dropout=0.1",
    "train.optimizer.max_steps=4", "train.optimizer.lr=1e-2", "train.batch_size=16", "eval.generate=4",
    "precision=fp32", "save_model=true",
)  # fmt: skip
STEPS = ("method.optimizer.max_steps=4", "method.optimizer.lr=1e-2", "method.batch_size=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaMA in a local folder, with weights that training has not touched."""
    target = tmp_path_factory.mktemp("mine")
    torch.manual_seed(0)
    spec = replace(llama(), hidden=64)
    spec.build(INFO).save_pretrained(target)  # type: ignore[operator]
    text_task(spec).encoder.tokenizer.save_pretrained(target)
    return target


def spec_of(folder: Path, adapter_: adapter.Adapter = LORA) -> Pretrained:
    return Pretrained(
        path=folder, hub=None, revision=None, package=None, checkpoint=None, base="clean",
        adapter=adapter_, load_in_4bit=True,
        gradient_checkpointing=False,
    )  # fmt: skip


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=TOKENS).logits
    return found


def stored(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in four_bit.layers(model).items()}


def trained(model: torch.nn.Module, lr: float = 1e-2) -> PeftModel:
    """Train a fresh adapter for three steps."""
    student = adapter.attach(model, LORA).train()
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr)
    for _ in range(3):
        optimizer.zero_grad()
        student(input_ids=TOKENS).logits.square().mean().backward()
        optimizer.step()
    return student.eval()


def test_a_small_change_survives_that_rounding_would_lose(folder):
    model = spec_of(folder).start(INFO).eval()
    before, codes = logits(model), stored(model)
    student = trained(model, lr=3e-4)
    expected = logits(student)
    rounded = stored(copy.deepcopy(student).merge_and_unload())
    assert all(torch.equal(rounded[name], code) for name, code in codes.items())  # what peft's own merge makes of it
    error, change = ((one - expected).norm() for one in (logits(weights.merged(student)), before))
    assert error < 0.1 * change


def test_4bit_weights_never_change_and_are_shared_by_copies(folder):
    model = spec_of(folder).start(INFO).eval()
    before = stored(model)
    original = weights.merged(trained(model))
    again = four_bit.copied(original)
    assert torch.equal(logits(again), logits(original))
    for name, layer in four_bit.layers(again).items():
        assert layer.weight is four_bit.layers(original)[name].weight and torch.equal(layer.weight, before[name])
    unlearned = weights.merged(trained(again))
    assert not torch.equal(logits(unlearned), logits(original))
    assert {
        layer.change_down.shape[0] for layer in four_bit.layers(unlearned).values() if hasattr(layer, "change_down")
    } == {8}
    assert not any("weight.absmax" in name or "q_proj.weight" in name for name in weights.state_of(unlearned))


def test_the_reference_is_the_original_as_it_is_scored_whatever_the_student_learned(folder):
    original = weights.merged(trained(spec_of(folder).start(INFO).eval())).eval()
    expected = logits(original)
    student = trained(original).train()
    assert torch.equal(logits(AdapterOff(student)), expected)


def test_a_model_that_is_kept_whole_comes_back(folder):
    model = weights.merged(trained(spec_of(folder).start(INFO))).eval()
    again = weights.restore(spec_of(folder).start(INFO), weights.state_of(model)).eval()
    assert torch.equal(logits(again), logits(model))


def test_what_4_bits_need_is_said_before_anything_is_trained(folder, monkeypatch):
    with pytest.raises(UserError, match=r"cannot be trained\.\nTry: model\.adapter\.r=16"):
        spec_of(folder, replace(LORA, r=0)).check()
    spec_of(folder).check()
    monkeypatch.setattr(four_bit.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"pip install 'unlearnbench\[4bit\]'"):
        spec_of(folder).check()


@pytest.mark.parametrize("name", ["instruct", "instruct_sound", "prompt"])
def test_presets_of_the_bias_study_take_4_bits_at_full_scale(name):
    for scale in ((), ("scale=full",)):
        request = compose([f"experiment=paper_bias_{name}", *scale]).request
        model = build(request.config["model"], "model")
        assert model.load_in_4bit is True and model.adapter.r > 0
        assert request.name("model").endswith("_4bit")


def run(outputs: Path, folder: Path, *words: str) -> tuple[Path, dict]:
    outcome = execute(prepare([f"outputs={outputs}", *WORDS, f"model.path={folder}", "model.base=clean", *words]))
    return outcome.folder, json.loads((outcome.folder / "result.json").read_text())


@pytest.mark.parametrize("form", ["whole", "adapter"])
def test_a_fine_tuned_model_is_the_original_in_4_bits_too(folder, tmp_path, form):
    """Whole, its own weights are rounded; an adapter stays beside those of the base, as in QLoRA."""
    torch.manual_seed(1)
    student = adapter.attach(AutoModelForCausalLM.from_pretrained(folder), LORA)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    if form == "whole":
        weights.merged(student).save_pretrained(tmp_path / "mine")
    else:
        student.save_pretrained(tmp_path / "mine")
    spec = replace(spec_of(folder), checkpoint=tmp_path / "mine")
    spec.check()
    mine, base = spec.finetuned(INFO).eval(), spec.start(INFO).eval()
    changed = [n for n, code in stored(base).items() if not torch.equal(code, stored(mine)[n])]
    assert bool(changed) == (form == "whole") and not torch.equal(logits(mine), logits(base))
    given = f"model.checkpoint={tmp_path / 'mine'}"
    run_folder, result = run(tmp_path / "out", folder, given, "method=npo", *STEPS)
    assert (result["status"], result["model"]) == ("done", "mine")
    expected, found = rescored(run_folder, unlearnbench.load(run_folder), "test")
    assert np.array_equal(expected, found)


def rescored(run_folder: Path, model: torch.nn.Module, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a split's scores of a run, and those of a model that was read from its folder."""
    kept = np.load(run_folder / "scores" / f"unlearned_{split}.npz")
    dataset = notes()
    data = dataset.load()
    spec = spec_of(run_folder / "model")
    task = bind(data, data.train, dataset, CPU, spec, 500, 0)
    return kept["logits"], task.score(model, kept["index"]).logits


def test_a_whole_run_scores_the_model_that_it_saves(folder, tmp_path, monkeypatch):
    run_folder, result = run(tmp_path, folder, "method=npo", *STEPS)
    assert result["status"] == "done" and result["weights_changed"] is True
    ours = unlearnbench.load(run_folder)
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)  # else it packs, which rounds
    (run_folder / "model").rename(tmp_path / "moved")  # whole in itself
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "moved", device_map={"": "cpu"}).eval()
    (tmp_path / "moved").rename(run_folder / "model")
    assert AutoTokenizer.from_pretrained(run_folder / "model").chat_template
    for model in (ours, theirs):
        for split in ("retain", "forget", "test"):
            expected, found = rescored(run_folder, model, split)
            assert np.array_equal(expected, found)
    base = json.loads((run_folder / "model" / "config.json").read_text())
    assert base["quantization_config"]["bnb_4bit_quant_type"] == "nf4"
    assert json.loads((run_folder / "model" / "adapter_config.json").read_text())["r"] == 8  # the original's, and npo's


def test_every_role_and_kind_of_method_runs_in_4_bits(folder, tmp_path):
    kept, none = run(tmp_path, folder, "method=none")
    assert none["weights_changed"] is False
    scores = [np.load(kept / "scores" / f"{role}_test.npz")["logits"] for role in ("original", "unlearned")]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    for words in (
        ("method=retrain",),
        ("method=lora_negation", *STEPS),
        ("method=distill", *STEPS),
        ("method=prompt",),
    ):
        run_folder, result = run(tmp_path, folder, *words)
        assert result["status"] == "done"
        expected, found = rescored(run_folder, unlearnbench.load(run_folder), "test")
        if words != ("method=prompt",):
            assert np.array_equal(expected, found)
