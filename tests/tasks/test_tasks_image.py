"""The image task: augmentation, normalisation, scoring, and the float32 head."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from unlearnbench.data.images import Augment
from unlearnbench.machine.precision import Precision
from unlearnbench.tasks.image import ImageTask
from worlds import CPU, synthetic


def task(precision=CPU, **changes):
    dataset = synthetic(**changes)
    return ImageTask(dataset.load(), dataset, precision, "linear", 32)


def test_plain_batches_are_normalised_pixels():
    one = task()
    index = np.array([5, 2, 9])
    batch = one.batch(index, None)
    expected = (one.data.images[torch.from_numpy(index)].float() / 255 - 0.5) / 0.25
    torch.testing.assert_close(batch.inputs, expected)
    assert batch.index.tolist() == [5, 2, 9]
    assert batch.labels.tolist() == one.data.labels[index].tolist()


def test_augmented_images_are_shifts_and_mirrors_of_the_padded_original():
    one = task(augment=Augment(crop=2, flip=True))
    index = one.data.train[:16]
    batch = one.batch(index, torch.Generator().manual_seed(0))
    pixels = ((batch.inputs * 0.25 + 0.5) * 255).round().to(torch.uint8)
    shifts = set()
    for image, position in zip(pixels, index, strict=True):
        padded = functional.pad(one.data.images[position], (2, 2, 2, 2))
        found = {
            (dy, dx, flip)
            for dy in range(5) for dx in range(5) for flip in (False, True)
            if torch.equal(image, (padded[:, dy : dy + 8, dx : dx + 8].flip(-1) if flip else
                                   padded[:, dy : dy + 8, dx : dx + 8]))
        }  # fmt: skip
        assert found
        shifts |= found
    assert len(shifts) > 8


def test_augmentation_is_decided_by_the_generator():
    one = task(augment=Augment(crop=2, flip=True))
    index = one.data.train[:16]
    first, second = (one.batch(index, torch.Generator().manual_seed(4)).inputs for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, one.batch(index, torch.Generator().manual_seed(5)).inputs)


def test_resizing_gives_the_size_asked_for():
    assert task(size=12).batch(np.arange(3), None).inputs.shape == (3, 1, 12, 12)


def test_scores_are_in_order_without_augmentation_and_keep_the_mode(tiny):
    one = task(augment=Augment(crop=2, flip=True))
    model = tiny.spec.build(one.data.info).train()
    index = one.data.test[::-1].copy()
    scores = one.score(model, index)
    assert model.training
    assert np.array_equal(scores.index, index)
    assert np.array_equal(scores.label, one.data.labels[index])
    again = one.score(model.eval(), index)
    assert np.array_equal(scores.logits, again.logits)


def test_bf16_scoring_keeps_the_head_in_float32(tiny):
    one = task(Precision("cpu", bf16=True, channels_last=True))
    model = one.prepare(tiny.spec.build(one.data.info)).eval()
    features = []
    model.linear.register_forward_pre_hook(lambda _module, given: features.append(given[0].float()))
    scores = one.score(model, one.data.test[:20])
    exact = functional.linear(features[0].clone(), model.linear.weight, model.linear.bias).detach().numpy()
    np.testing.assert_allclose(scores.logits, exact, atol=1e-6)


def test_hidden_is_what_the_layer_puts_out(tiny):
    batch = tiny.task.batch(np.arange(4), None)
    hidden = tiny.task.hidden(tiny.original, batch, "features")
    torch.testing.assert_close(tiny.original.linear(hidden.mean(dim=(2, 3))), tiny.original(batch.inputs))
