"""Augmentation: what each kind may change, that every image draws its own, and that nothing changes unasked."""

from __future__ import annotations

import math

import pytest
import torch

from unlearnbench.config import typed
from unlearnbench.data.images import Augment
from unlearnbench.errors import UserError
from unlearnbench.tasks.augment import coloured, erased, moved

NONE = Augment(crop=0, flip=False)
INDEX = torch.arange(64)


def images(seed=0, count=64, channels=3, side=16):
    return torch.randint(0, 256, (count, channels, side, side), generator=drawn(seed), dtype=torch.uint8)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_changes_unasked_and_nothing_is_drawn():
    before, generator = images(), drawn()
    state = generator.get_state()
    assert moved(before, INDEX, NONE, generator, 0) is before
    floats = before.float()
    assert coloured(floats, NONE, generator) is floats
    assert erased(floats, NONE, generator) is floats
    assert torch.equal(generator.get_state(), state)


def test_alternating_flips_mirror_each_image_in_every_second_epoch():
    before = images()
    augment = Augment(crop=0, flip="alternate")
    first, second, third = (moved(before, INDEX, augment, drawn(), epoch) for epoch in range(3))
    assert torch.equal(first, third)
    assert torch.equal(first.flip(-1), second)
    mirrored = (first == before.flip(-1)).flatten(1).all(1)
    assert 16 < int(mirrored.sum()) < 48


def test_alternating_flips_follow_the_position_not_the_place_in_the_batch():
    before, augment = images(), Augment(crop=0, flip="alternate")
    order = torch.randperm(64, generator=drawn(1))
    shuffled = moved(before[order], order, augment, drawn(), 0)
    assert torch.equal(shuffled, moved(before, INDEX, augment, drawn(), 0)[order])


def test_a_full_quarter_turn_is_a_rotation_of_the_grid(monkeypatch):
    monkeypatch.setattr("unlearnbench.tasks.augment._uniform", lambda count, low, high, _: torch.full((count,), high))
    before = images().float()
    turned = coloured(before, Augment(crop=0, flip=False, rotate=90.0), drawn())
    torch.testing.assert_close(turned, before.rot90(1, (2, 3)), atol=0.05, rtol=0)


def test_rotation_stays_within_its_degrees_and_differs_between_images():
    ramp = torch.arange(33.0).expand(50, 1, 33, 33).clone()
    turned = coloured(ramp, Augment(crop=0, flip=False, rotate=20.0), drawn())
    down, across = turned[:, 0, 17, 16] - turned[:, 0, 15, 16], turned[:, 0, 16, 17] - turned[:, 0, 16, 15]
    angle = torch.atan2(down, across).rad2deg()
    assert angle.abs().max() <= 20.01
    assert angle.abs().max() > 15
    assert len(angle.round(decimals=2).unique()) > 40


def test_jitter_keeps_the_range_of_pixels_and_scales_brightness_by_at_most_its_strength():
    plain = torch.full((200, 3, 4, 4), 100.0)
    changed = coloured(plain, Augment(crop=0, flip=False, jitter=0.3), drawn())
    assert changed.min() >= 69.9
    assert changed.max() <= 130.1
    assert changed.flatten(1).std(dim=1).max() < 1e-3  # a grey image has neither contrast nor saturation to change
    strong = coloured(images().float(), Augment(crop=0, flip=False, jitter=1.0), drawn())
    assert strong.min() >= 0
    assert strong.max() <= 255


def test_jitter_leaves_an_image_of_one_channel_grey():
    changed = coloured(images(channels=1).float(), Augment(crop=0, flip=False, jitter=0.4), drawn())
    assert changed.shape == (64, 1, 16, 16)


def test_erasing_takes_one_rectangle_from_the_share_of_images_asked_for():
    plain = torch.ones(2000, 3, 32, 32)
    holes = erased(plain, Augment(crop=0, flip=False, erase=0.5), drawn()) == 0
    touched = holes.flatten(1).any(1)
    assert touched.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert torch.equal(holes[:, 0], holes[:, 2])
    one = holes[touched][:, 0]
    rows, columns = one.any(2), one.any(1)
    assert torch.equal(rows[:, :, None] & columns[:, None, :], one)  # a rectangle: the product of its sides
    area = one.flatten(1).float().mean(1)
    assert area.mean().item() == pytest.approx((0.02 + 0.33) / 2, abs=0.02)
    assert math.isclose(float(area.max()), 0.33, abs_tol=0.05)


def test_the_generator_decides_everything():
    augment = Augment(crop=2, flip=True, rotate=15.0, jitter=0.2, erase=0.5)

    def once(seed):
        generator = drawn(seed)
        shifted = moved(images(), INDEX, augment, generator, 0)
        return erased(coloured(shifted.float(), augment, generator), augment, generator)

    assert torch.equal(once(3), once(3))
    assert not torch.equal(once(3), once(4))


@pytest.mark.parametrize(("key", "value"), [("flip", "sometimes"), ("erase", 1.5), ("rotate", 270), ("jitter", -0.1)])
def test_values_out_of_range_are_named(key, value):
    with pytest.raises(UserError, match=f"augment.{key}"):
        typed(Augment, {"crop": 0, "flip": False, key: value}, "dataset.augment")
