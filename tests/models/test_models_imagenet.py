"""Pretrained weights of image models: from a file or the hub's cache, by content in keys, with one message else."""

from __future__ import annotations

import sys
from dataclasses import replace

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

import unlearnbench
from unlearnbench.cli import main
from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.models import imagenet
from unlearnbench.models.resnet import HUB, ResNet18
from unlearnbench.models.start import as_retrained, incompetent, is_pretrained, started
from unlearnbench.models.vgg import VGG16, in_torchvision_names
from unlearnbench.runs.launch import execute, prepare
from worlds import image_info, same_weights, timm_model

RESNET = ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None, base=None)
VGG = VGG16(batch_norm=True, dropout=0.0, pretrained=False, checkpoint=None, base=None)


@pytest.fixture
def file(tmp_path):
    """Somebody's ResNet18 with 1000 classes, as safetensors."""
    torch.manual_seed(7)
    save_file(models.resnet18().state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """A hub's client that must not use the network, with an empty cache: its folder."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    imagenet._from_hub.cache_clear()
    yield tmp_path / "hub"
    imagenet._from_hub.cache_clear()


def differing(model, other):
    mine, theirs = model.state_dict(), other.state_dict()
    return {
        name for name in mine if mine[name].shape != theirs[name].shape or not torch.equal(mine[name], theirs[name])
    }


@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("side", [32, 64, 224])
def test_resnet18_takes_all_but_its_last_layer_and_the_standard_stem(file, side, classes):
    torch.manual_seed(7)
    source = models.resnet18()
    model = started(replace(RESNET, pretrained=file, dropout=0.5), image_info(side, classes=classes))
    assert differing(model, source) == {"fc.weight", "fc.bias"}
    assert isinstance(model.maxpool, torch.nn.MaxPool2d)


def test_an_incompetent_teacher_stays_random(file):
    spec, info = replace(RESNET, pretrained=file), image_info(32)
    torch.manual_seed(0)
    random = incompetent(spec, info)
    torch.manual_seed(0)
    assert same_weights(random, spec.build(info))
    assert "conv1.weight" in differing(random, started(spec, info))
    assert is_pretrained(spec) and not is_pretrained(RESNET)
    torch.manual_seed(0)
    assert same_weights(started(replace(RESNET, stem="standard"), info), random)


@pytest.mark.parametrize(
    ("spec", "info", "says"),
    [
        (RESNET, image_info(32, channels=1), "this run has 1 channels"),
        (replace(RESNET, stem="small"), image_info(32), r"model\.stem=small(.|\n)*model\.stem=standard"),
        (VGG, image_info(32, channels=1), "these have 1 channels"),
        (VGG, image_info(32), r"missing     features\.0\.weight"),
    ],
)
def test_what_pretrained_weights_cannot_fit_is_refused(file, spec, info, says):
    with pytest.raises(UserError, match=says):
        started(replace(spec, pretrained=file), info)


@pytest.mark.parametrize(("batch_norm", "side"), [(True, 16), (False, 64)])
def test_vgg16_on_small_images_takes_the_features_alone(tmp_path, batch_norm, side):
    spec = replace(VGG, batch_norm=batch_norm, pretrained=tmp_path / "vgg.safetensors")
    source = spec.build(image_info(64))
    save_file({**source.state_dict(), "pre_logits.fc1.weight": torch.zeros(2, 2, 7, 7)}, spec.pretrained)
    model = started(spec, image_info(side))
    assert differing(model, source) == {"classifier.0.weight", "classifier.0.bias"}


def test_timms_vgg16_has_torchvisions_weights_under_other_names():
    for batch_norm, theirs, ours in ((False, "vgg16", models.vgg16), (True, "vgg16_bn", models.vgg16_bn)):
        with torch.device("meta"):
            renamed = in_torchvision_names(timm.create_model(theirs).state_dict())
            expected = ours().state_dict()
        assert {name: t.shape for name, t in renamed.items()} == {name: t.shape for name, t in expected.items()}
        assert replace(VGG, batch_norm=batch_norm)._hub() == f"timm/{theirs}.tv_in1k"


def test_timms_convolution_is_the_same_linear_map():
    images, weight = torch.randn(2, 3, 7, 7), torch.randn(5, 3, 7, 7)
    matrix = in_torchvision_names({"pre_logits.fc1.weight": weight})["classifier.0.weight"]
    convolved = torch.nn.functional.conv2d(images, weight).flatten(1)
    torch.testing.assert_close(images.flatten(1) @ matrix.T, convolved, atol=1e-4, rtol=1e-4)


def test_keys_hold_the_content_of_a_file_and_not_its_place(file, tmp_path):
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(file.read_bytes())
    save_file({"x": torch.zeros(1)}, other)
    keys = [digest(replace(RESNET, pretrained=given)) for given in (file, copy, other, False)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert keys[3] == digest(replace(RESNET))


def test_weights_of_the_hubs_cache_are_used_without_a_network(offline, file):
    repository = offline / f"models--{HUB.replace('/', '--')}"
    commit = "0" * 40
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit / "model.safetensors").symlink_to(file)
    hub, local = replace(RESNET, pretrained=True), replace(RESNET, pretrained=file)
    hub.check()
    assert digest(hub) == digest(local)
    assert differing(started(hub, image_info(32)), started(local, image_info(32))) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("choice", "repository"),
    [
        ("resnet18", "timm/resnet18.tv_in1k"),
        ("vgg16", "timm/vgg16_bn.tv_in1k"),
        ("coatnet_nano", "timm/coatnet_nano_rw_224.sw_in1k"),
    ],
)
def test_absent_weights_without_a_network_end_at_once_with_a_remedy(
    choice, repository, offline, monkeypatch, capsys, tmp_path
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ["dataset=synthetic", f"model={choice}", "model.pretrained=true"]
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert repository in said and "no network" in said
    assert "Try: model.pretrained=FILE.safetensors" in said and "model.pretrained=false" in said
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nowhere.safetensors", None, "is not a file"),
        ("weights.pt", b"PK", "pickled weights can run code"),
        ("empty.safetensors", b"", "cannot be read as safetensors"),
        ("noise.safetensors", b"\xff" * 200, "cannot be read as safetensors"),
    ],
)
def test_files_that_are_no_safetensors_are_explained(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    spec = replace(RESNET, pretrained=tmp_path / name, base="clean")
    with pytest.raises(UserError, match=says):
        spec.check()
        started(spec, image_info(32))


@pytest.mark.parametrize("spec", [RESNET, VGG, timm_model("resnet10t")], ids=["resnet18", "vgg16", "timm"])
def test_a_file_that_original_and_retrained_would_share_needs_a_word_about_it(spec, tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({"x": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"Try: model\.checkpoint=(.|\n)*model\.base=clean(.|\n)*model\.base=unknown"):
        replace(spec, pretrained=file).check()
    for known in ({"base": "clean"}, {"base": "unknown"}, {"checkpoint": file}):
        replace(spec, pretrained=file, **known).check()
    assert digest(as_retrained(replace(spec, base="unknown"))) == digest(as_retrained(spec))


@pytest.mark.slow
def test_a_run_starts_every_training_from_the_file_and_loads_without_it(file, tmp_path, monkeypatch):
    starts = []
    start = ResNet18.start
    monkeypatch.setattr(ResNet18, "start", lambda spec, info: starts.append(spec) or start(spec, info))
    words = [
        f"outputs={tmp_path / 'outputs'}", "dataset=synthetic", "dataset.channels=3", "dataset.mean=[0.5,0.5,0.5]",
        "dataset.std=[0.5,0.5,0.5]", "model=resnet18", f"model.pretrained={file}", "model.base=clean",
        "model.dropout=0.5", "train.epochs=1", "method=retrain",
    ]  # fmt: skip
    done = execute(prepare(words))
    assert len(starts) == 4  # the check, original, retrained, and the method's own
    assert execute(prepare(words)).reused
    other = models.resnet18().state_dict()
    file.unlink()
    model = unlearnbench.load(done.folder)
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 4)
    save_file(other, file)
    again = execute(prepare(words))
    assert not again.reused and again.folder != done.folder
