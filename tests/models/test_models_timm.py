"""Any image model of timm, at the data's own size: parts, one classifier, precision, pretrained files, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import save_file

from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.machine.precision import Precision
from unlearnbench.models import weights
from unlearnbench.models.hooks import output_of
from unlearnbench.models.start import started
from unlearnbench.tasks.image import ImageTask
from worlds import image_info, same_weights, synthetic, timm_model

SHIPPED = ("efficientformerv2_s0", "efficientformerv2_s1", "efficientformerv2_s2", "efficientformerv2_l",
           "coatnet_nano_rw_224", "coatnet_0_rw_224")  # fmt: skip
QUICK = ("efficientformerv2_s0", "coatnet_nano_rw_224")


def seeded(spec, info):
    torch.manual_seed(0)
    return spec.build(info)


@pytest.mark.parametrize("architecture", [*SHIPPED, "resnet18", "convnext_atto", "mobilenetv3_small_100"])
def test_parts_are_submodules_and_the_mask_layer_is_the_last_map(architecture):
    spec = timm_model(architecture)
    model = spec.build(image_info(32)).eval()
    parts = spec.parts()
    assert {parts.head, parts.mask_layer, *parts.blocks} <= set(dict(model.named_modules()))
    assert not any(block.startswith(parts.head) for block in parts.blocks)
    images = torch.zeros(2, 3, 32, 32)
    with torch.no_grad():
        features = output_of(model, parts.mask_layer, lambda: model(images))
        assert model(images).shape == (2, 10)
    assert features.shape[:2] == (2, model.feature_info[-1]["num_chs"])
    assert features.ndim == 4


def test_efficientformer_has_one_classifier():
    model = timm_model("efficientformerv2_s0").build(image_info(32, classes=7))
    wide = [name for name, weight in model.named_parameters() if weight.shape[0] == 7]
    assert wide == ["head.weight", "head.bias"]


@pytest.mark.parametrize("architecture", QUICK)
def test_same_seed_gives_same_weights_whatever_is_remembered(architecture):
    first = seeded(timm_model(architecture), image_info(32))
    again = seeded(timm_model(architecture), image_info(32))  # its size was checked before
    assert same_weights(first, again)


@pytest.mark.parametrize("architecture", QUICK)
def test_training_scoring_copies_and_restored_weights_in_bf16(architecture):
    dataset, spec = synthetic(side=32, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3), timm_model(architecture)
    data = dataset.load()
    task = ImageTask(data, dataset, Precision("cpu", bf16=True), spec.parts().head, 64)
    model = task.prepare(seeded(spec, data.info))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = copy.deepcopy(model)
    for start in (0, 32):
        predictions = task.predict(model, task.batch(data.train[start : start + 32], None))
        torch.nn.functional.cross_entropy(predictions.logits, predictions.labels).backward()
        optimizer.step()
    assert not same_weights(model, before)
    scores = task.score(model, data.test[:20]).logits
    restored = task.prepare(weights.restore(spec.build(data.info), weights.state_of(model))).eval()
    for other in (copy.deepcopy(model), restored):
        assert (task.score(other, data.test[:20]).logits == scores).all()


def test_attention_in_evaluation_follows_changed_weights_and_gradients():
    model = seeded(timm_model("efficientformerv2_s0"), image_info(64)).eval()
    images = torch.randn(2, 3, 64, 64)
    for _ in range(2):  # timm itself would go backward through the first pass's graph twice
        model(images).sum().backward()
    name, bias = next((n, p) for n, p in model.named_parameters() if n.endswith("attention_biases"))
    assert bias.grad.abs().sum() > 0, name
    with torch.no_grad():
        before = model(images)
        bias.normal_(std=10)
        assert not torch.equal(model(images), before)


@pytest.mark.parametrize("architecture", QUICK)
def test_dropout_acts_in_training_alone_and_changes_no_name(architecture):
    plain, dropped = timm_model(architecture), timm_model(architecture, dropout=0.5)
    a, b = seeded(plain, image_info(32)).eval(), seeded(dropped, image_info(32)).eval()
    assert same_weights(a, b)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(a(images), b(images))
        for module in (a, b):
            module.train()
            for inner in module.modules():
                if isinstance(inner, torch.nn.modules.batchnorm._BatchNorm):
                    inner.eval()
        assert torch.equal(a(images), a(images))
        assert not torch.equal(b(images), b(images))


@pytest.mark.parametrize("classes", [5, 10])
@pytest.mark.parametrize("architecture", QUICK)
def test_a_file_gives_all_but_the_last_layer_whatever_its_classes(architecture, classes, tmp_path):
    source = seeded(timm_model(architecture), image_info(32, classes=classes))
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    spec = timm_model(architecture, pretrained=tmp_path / "weights.safetensors", base="clean")
    spec.check()
    torch.manual_seed(1)
    model = started(spec, image_info(32))
    theirs, head = source.state_dict(), f"{spec.parts().head}."
    for name, tensor in model.state_dict().items():
        assert name.startswith(head) or torch.equal(tensor, theirs[name])
    weight = model.state_dict()[f"{head}weight"]
    assert len(weight) == 10 and not torch.equal(weight[:5], theirs[f"{head}weight"][:5])
    assert "state_dict" not in model.pretrained_cfg
    copy.deepcopy(model)


def test_weights_of_another_size_are_fitted_where_timm_can(tmp_path):
    source = timm_model("coatnet_nano_rw_224").build(image_info(64))
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = started(timm_model("coatnet_nano_rw_224", pretrained=tmp_path / "weights.safetensors"), image_info(32))
    assert torch.equal(model.stem.conv1.weight, source.stem.conv1.weight)


def test_weights_of_another_size_or_network_are_refused(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(timm_model("efficientformerv2_s0").build(image_info(64)).state_dict(), file)
    with pytest.raises(UserError, match=r"at 32 pixels(.|\n)*dataset\.size=224"):
        started(timm_model("efficientformerv2_s0", pretrained=file), image_info(32))
    with pytest.raises(UserError, match=r"missing     stem\.conv1\.weight"):
        started(timm_model("coatnet_nano_rw_224", pretrained=file), image_info(32))


def test_keys_know_the_architecture_and_the_weights(tmp_path):
    for name, value in (("a", 0.0), ("same", 0.0), ("other", 1.0)):
        save_file({"x": torch.full((2,), value)}, tmp_path / f"{name}.safetensors")
    a, same, other = (timm_model("resnet18", pretrained=tmp_path / f"{n}.safetensors") for n in ("a", "same", "other"))
    assert digest(a) == digest(same) != digest(other)
    assert digest(timm_model("resnet18")) not in (digest(a), digest(timm_model("resnet34")))


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("efficientformerv2_s", r"not a model of timm .*Did you mean 'efficientformerv2_s"),
        ("hf-hub:timm/resnet18", "not a model of timm"),
        ("local-dir:weights", "not a model of timm"),
        ("resnet18.tv_in2k", "Did you mean 'resnet18.tv_in1k'"),
        ("mobilenetv5_300m_enc", "has no classifier"),
    ],
)
def test_names_that_cannot_be_used_are_refused(architecture, says):
    with pytest.raises(UserError, match=says):
        timm_model(architecture).check()


@pytest.mark.parametrize(("architecture", "side"), [("coatnet_0_rw_224", 28), ("efficientformerv2_s0", 8)])
def test_sides_that_a_model_cannot_take_are_refused(architecture, side):
    with pytest.raises(UserError, match=rf"cannot take 3 channels of {side}x{side}(.|\n)*dataset\.size=32, or 224"):
        timm_model(architecture).build(image_info(side))


def test_an_architecture_without_published_weights_says_so():
    with pytest.raises(UserError, match="no published weights"):
        timm_model("coatnet_0_224", pretrained=True).check()
