"""Augmentation: what each kind may change, that every image draws its own, and that nothing changes unasked."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import adjust_sharpness

from unlearnbench.data.images import Augment
from unlearnbench.errors import UserError
from unlearnbench.request.config import typed
from unlearnbench.tasks.augment import coloured, erased, moved
from unlearnbench.tasks.image import ImageTask
from unlearnbench.training.batches import Batches
from worlds import CPU, synthetic

NONE = Augment(crop=0, flip=False)
INDEX = torch.arange(64)


def images(seed=0, count=64, channels=3, side=16):
    return torch.randint(0, 256, (count, channels, side, side), generator=drawn(seed), dtype=torch.uint8)


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_changes_unasked_and_nothing_is_drawn():
    before, generator = images(), drawn()
    state = generator.get_state()
    assert moved(before, INDEX, NONE, generator, 0, 0) is before
    floats = before.float()
    assert coloured(floats, NONE, generator) is floats
    assert erased(floats, NONE, generator) is floats
    assert torch.equal(generator.get_state(), state)


def test_alternating_flips_mirror_each_image_in_every_second_epoch():
    before = images()
    augment = Augment(crop=0, flip="alternate")
    first, second, third = (moved(before, INDEX, augment, drawn(epoch), epoch, 5) for epoch in range(3))
    assert torch.equal(first, third)
    assert torch.equal(first.flip(-1), second)
    mirrored = (first == before.flip(-1)).flatten(1).all(1)
    assert 16 < int(mirrored.sum()) < 48


def test_alternating_flips_follow_the_position_not_the_place_in_the_batch():
    before, augment = images(), Augment(crop=0, flip="alternate")
    order = torch.randperm(64, generator=drawn(1))
    shuffled = moved(before[order], order, augment, drawn(), 0, 0)
    assert torch.equal(shuffled, moved(before, INDEX, augment, drawn(), 0, 0)[order])


def first_mirrored(seed, count=4000):
    ramp = torch.arange(4, dtype=torch.uint8).expand(count, 1, 1, 4)
    return moved(ramp, torch.arange(count), Augment(crop=0, flip="alternate"), drawn(), 0, seed)[:, 0, 0, 0] == 3


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (7, 2**62 + 7), (2**61, 2**61 + 1)])
def test_two_seeds_mirror_different_halves_first(one, other):
    """Each seed mirrors half of the images first, and two seeds agree on half of them: they are independent."""
    halves = [first_mirrored(seed) for seed in (one, other)]
    assert [half.float().mean().item() for half in halves] == pytest.approx([0.5, 0.5], abs=0.03)
    assert (halves[0] == halves[1]).float().mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_batches_of_one_training_alternate_and_those_of_another_begin_with_other_images(seed):
    dataset = synthetic(augment=Augment(crop=0, flip="alternate"))
    data = dataset.load()
    task = ImageTask(data, dataset, CPU, "linear", 50)
    plain = task.batch(data.train, None).inputs

    def mirrored(of, epoch):
        seen = [pair[0] for pair in Batches(task, (data.train,), 64, 4, of).epoch(epoch)]
        order = torch.cat([batch.index for batch in seen]).argsort()
        return (torch.cat([batch.inputs for batch in seen])[order] != plain).flatten(1).any(1)

    epochs = [mirrored(seed, epoch) for epoch in range(4)]
    assert torch.equal(epochs[0], ~epochs[1])
    assert torch.equal(epochs[0], epochs[2]) and torch.equal(epochs[1], epochs[3])
    assert 0.3 < (epochs[0] == mirrored(seed + 1, 0)).float().mean() < 0.7


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


def test_erasing_fills_with_its_value_within_its_area():
    """Figure 3 of the study: three images of four, 2 to 10 % of each, a standard deviation above the mean."""
    augment = Augment(crop=0, flip=False, erase=0.75, erase_area=(0.02, 0.1), erase_value=1.0)
    changed = erased(torch.full((4000, 3, 32, 32), -2.0), augment, drawn())
    assert set(changed.unique().tolist()) == {-2.0, 1.0}
    holes = (changed[:, 0] == 1.0).flatten(1).float().mean(1)
    assert (holes > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert holes[holes > 0].mean().item() == pytest.approx(0.06, abs=0.005)
    assert float(holes.max()) < 0.12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_sharpness_is_that_of_torchvision(factor, channels):
    before = images(channels=channels).float()
    ours = coloured(before, Augment(crop=0, flip=False, sharpen=1.0, sharpness=factor), drawn())
    torch.testing.assert_close(ours / 255, adjust_sharpness(before / 255, factor), atol=1e-5, rtol=0)


def test_sharpness_changes_its_share_of_images_and_none_that_has_no_inner_pixel():
    before, augment = images(count=2000).float(), Augment(crop=0, flip=False, sharpen=0.1, sharpness=2.0)
    touched = (coloured(before, augment, drawn()) != before).flatten(1).any(1)
    assert touched.float().mean().item() == pytest.approx(0.1, abs=0.02)
    small = images(side=2).float()
    assert torch.equal(coloured(small, Augment(crop=0, flip=False, sharpen=1.0), drawn()), small)


def test_an_image_is_erased_where_it_is_normalised():
    augment = Augment(crop=0, flip=False, erase=1.0, erase_area=(1.0, 1.0), erase_value=1.0)
    dataset = synthetic(augment=augment)
    task = ImageTask(dataset.load(), dataset, CPU, "linear", 50)
    batch = task.batch(np.arange(40), drawn())
    assert int((batch.inputs == 1.0).flatten(1).any(1).sum()) == 40


def test_the_generator_decides_everything():
    augment = Augment(crop=2, flip=True, rotate=15.0, jitter=0.2, erase=0.5)

    def once(seed):
        generator = drawn(seed)
        shifted = moved(images(), INDEX, augment, generator, 0, 0)
        return erased(coloured(shifted.float(), augment, generator), augment, generator)

    assert torch.equal(once(3), once(3))
    assert not torch.equal(once(3), once(4))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip", "sometimes"),
        ("erase", 1.5),
        ("rotate", 270),
        ("jitter", -0.1),
        ("sharpen", 2),
        ("sharpness", -1),
        ("erase_area", [0.0, 0.1]),
        ("erase_area", [0.2]),
    ],
)
def test_values_out_of_range_are_named(key, value):
    with pytest.raises(UserError, match=f"augment.{key}"):
        typed(Augment, {"crop": 0, "flip": False, key: value}, "dataset.augment")


def test_an_area_that_ends_before_it_begins_is_refused():
    with pytest.raises(UserError, match=r"erase_area must be \[least, most\], not \[0.3, 0.1\]"):
        typed(Augment, {"crop": 0, "flip": False, "erase_area": [0.3, 0.1]}, "dataset.augment")
