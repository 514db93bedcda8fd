"""Every model builds for every image size it claims, and its named parts exist."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unlearnbench.errors import UserError
from unlearnbench.models import checkpoint, masks
from unlearnbench.models.head import dropped
from unlearnbench.models.resnet import ResNet18
from unlearnbench.models.resnet9 import ResNet9
from unlearnbench.models.tiny import TinyCNN, TinyResNet
from unlearnbench.models.vgg import VGG16
from worlds import image_info as info
from worlds import same_weights

SPECS = {
    "resnet18": ResNet18(stem="auto", dropout=0.0, pretrained=False, checkpoint=None, base=None),
    "resnet9": ResNet9(dropout=0.0, checkpoint=None),
    "vgg16": VGG16(batch_norm=True, dropout=0.0, pretrained=False, checkpoint=None, base=None),
    "tiny_resnet": TinyResNet(depth=14, checkpoint=None),
    "tiny_cnn": TinyCNN(checkpoint=None),
}


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 64)])
@pytest.mark.parametrize("name", SPECS)
def test_logits_and_parts(name, channels, side):
    spec, what = SPECS[name], info(side, channels, 7)
    model = spec.build(what).eval()
    assert model(torch.zeros(2, channels, side, side)).shape == (2, 7)
    parts = spec.parts()
    names = dict(model.named_modules())
    assert {parts.head, parts.mask_layer, *parts.blocks} <= set(names)


def test_sizes_are_as_documented():
    def millions(spec):
        return sum(p.numel() for p in spec.build(info()).parameters()) / 1e6

    assert millions(SPECS["tiny_resnet"]) == pytest.approx(0.18, abs=0.01)
    assert millions(TinyResNet(depth=20, checkpoint=None)) == pytest.approx(0.27, abs=0.01)
    assert millions(SPECS["resnet9"]) == pytest.approx(6.6, abs=0.05)
    assert millions(SPECS["resnet18"]) == pytest.approx(11.2, abs=0.1)


def test_depth_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="6n"):
        TinyResNet(depth=15, checkpoint=None)


def test_resnet9_refuses_images_that_its_pools_use_up():
    with pytest.raises(UserError, match=r"at least 8 pixels; these have 7(.|\n)*dataset\.size"):
        SPECS["resnet9"].build(info(7))


@pytest.mark.parametrize("name", ["resnet18", "resnet9", "vgg16"])
def test_dropout_acts_in_training_alone_and_changes_no_weight(name):
    plain, dropped = SPECS[name], dataclasses.replace(SPECS[name], dropout=0.5)
    torch.manual_seed(0)
    a = plain.build(info()).eval()
    torch.manual_seed(0)
    b = dropped.build(info()).eval()
    assert same_weights(a, b)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(a(x), b(x))
    a.get_submodule(plain.parts().head).train()
    b.get_submodule(plain.parts().head).train()
    assert torch.equal(a(x), a(x))
    assert not torch.equal(b(x), b(x))


def test_without_dropout_the_last_layer_is_a_plain_one():
    linear = torch.nn.Linear(3, 2)
    assert dropped(linear, 0.0) is linear
    assert dropped(linear, 0.5).weight is linear.weight


def test_dropout_drops_the_asked_share_of_the_inputs_and_keeps_their_mean():
    layer = dropped(torch.nn.Linear(1, 1), 0.25)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    out = layer(torch.ones(20000, 1)).detach()
    assert float((out == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(out.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("suffix", "nest"), [(".safetensors", None), (".pt", None), (".pt", "state_dict"), (".pt", "model")]
)
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_checkpoints_load_out_of_nests_and_prefixes(tmp_path, nest, prefix, suffix):
    spec = SPECS["tiny_cnn"]
    source = spec.build(info())
    state = {prefix + name: value for name, value in source.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({nest: state, "epoch": 3} if nest else state, path)
    model = spec.build(info())
    checkpoint.load(model, path)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())


def test_checkpoint_of_another_shape_lists_what_differs(tmp_path):
    path = tmp_path / "weights.pt"
    state = SPECS["tiny_cnn"].build(info(classes=5)).state_dict()
    state["extra.weight"] = state.pop("conv2.weight")
    torch.save(state, path)
    with pytest.raises(UserError) as error:
        checkpoint.load(SPECS["tiny_cnn"].build(info(classes=10)), path)
    for words in (
        "missing     conv2.weight",
        "unexpected  extra.weight",
        "linear.weight: file (5, 32), model (10, 32)",
    ):
        assert words in str(error.value)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickled_code_is_refused_and_does_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(UserError, match="cannot be read as weights"):
        checkpoint.load(SPECS["tiny_cnn"].build(info()), path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x00" * 100])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_weights_are_explained(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as (weights|safetensors)|is empty"):
        checkpoint.load(SPECS["tiny_cnn"].build(info()), path)


def test_masks_multiply_and_are_restored():
    spec = SPECS["tiny_cnn"]
    model = spec.build(info()).eval()
    mask = (torch.arange(32) % 2).float().view(32, 1, 1)
    masks.attach(model, "features", mask)
    again = spec.build(info()).eval()
    masks.restore(again, model.state_dict())
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), again(x))
    masks.attach(model, "features", 1 - mask)
    assert int(model.features.unit_mask.sum()) == 0
