"""Modes: frozen batch norm keeps its statistics, a reference borrows a batch's, and scoring gives modes back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from unlearnbench.models.head import dropped
from unlearnbench.models.modes import Mode, alike, evaluating
from worlds import image_info, timm_model

FROZEN = Mode(batch_norm="frozen")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), dropped(nn.Linear(144, 2), 0.5))
    model = nn.Sequential(*layers)
    with torch.no_grad():
        model.train()(20 * images())
    return model.eval()


def images() -> torch.Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 1


def buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


@pytest.mark.parametrize(
    "kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm], ids=lambda kind: kind.__name__
)
def test_every_kind_of_batch_norm_is_frozen_and_its_weights_still_learn(kind):
    model = nn.Sequential(kind(3))
    FROZEN.enter(model)
    assert model.training and not model[0].training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_timms_batch_norm_with_its_activation_is_frozen():
    model = timm_model("efficientnet_lite0").build(image_info(32))
    FROZEN.enter(model)
    before = buffers(model)
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_frozen_statistics_stay_bit_equal_and_the_output_is_that_of_evaluation_but_for_dropout():
    model = network()
    expected, before = model(images()), buffers(model)
    Mode(batch_norm="frozen", dropout=False).enter(model)
    assert torch.equal(model(images()), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    Mode().enter(model)
    model(images())
    assert not torch.equal(model[1].running_mean, before["1.running_mean"])


def test_dropout_is_on_unless_it_is_switched_off():
    model = network()
    for dropout in (True, False):
        Mode(batch_norm="frozen", dropout=dropout).enter(model)
        assert torch.equal(model(images()), model(images())) != dropout


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_a_reference_equals_its_copy_in_training_and_keeps_its_buffers_and_modes(batch_norm):
    reference = network()
    student, before, evaluated = copy.deepcopy(reference), buffers(reference), reference(images())
    Mode(batch_norm=batch_norm, dropout=False).enter(student)
    with alike(reference, batch_norm):
        first, again = reference(images()), reference(images())
        assert torch.equal(first, student(images()))
        assert torch.equal(first, again)
        assert torch.equal(first, evaluated) == (batch_norm == "frozen")
    assert all(torch.equal(value, before[name]) for name, value in reference.named_buffers())
    assert torch.equal(reference(images()), evaluated)
    assert reference[1].track_running_stats


def test_a_reference_has_its_mode_back_where_the_training_fails():
    reference = network()
    with pytest.raises(RuntimeError, match="broken"), alike(reference, "train"):
        raise RuntimeError("broken")
    assert not any(module.training for module in reference.modules())


def test_evaluation_gives_each_module_its_own_mode_back():
    model = network()
    FROZEN.enter(model)
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
