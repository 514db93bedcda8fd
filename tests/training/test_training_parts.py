"""The parts of a step: none is empty or too large, and they add up to the mean over each whole batch."""

from __future__ import annotations

import pytest
import torch

from unlearnbench.contracts import Batch
from unlearnbench.training.parts import parts


def batch_of(count: int) -> Batch:
    """Examples whose inputs are numbers, for losses that can be worked out by hand."""
    numbers = torch.arange(count, dtype=torch.float64)
    return Batch(numbers.square() + count, torch.zeros(count, dtype=torch.int64), numbers.long())


@pytest.mark.parametrize("size", [1, 2, 7, 31, 40])
@pytest.mark.parametrize("sizes", [(31,), (31, 2), (2, 31), (3, 30, 31), (10, 10)])
def test_parts_are_small_not_empty_and_add_up_to_the_means(sizes, size):
    batches = tuple(batch_of(count) for count in sizes)
    found = list(parts(batches, size))
    assert all(0 < len(piece) <= max(size, 3) for part in found for piece in part.batches)
    total = sum(float(part.loss(tuple(piece.inputs for piece in part.batches))) for part in found)
    assert total == pytest.approx(sum(float(batch.inputs.mean()) for batch in batches), abs=1e-12)


def test_one_part_is_the_batches_themselves():
    batches = (batch_of(4), batch_of(9))
    (part,) = parts(batches, 9)
    assert [len(piece) for piece in part.batches] == list(part.divisors) == [4, 9]


def test_the_gradient_of_an_example_is_one_over_the_whole_batch():
    for part in parts((batch_of(6), batch_of(2)), 2):
        values = [torch.zeros(len(piece), requires_grad=True) for piece in part.batches]
        part.loss(tuple(values)).backward()
        assert values[0].grad.tolist() == pytest.approx([1 / 6] * 2)
        assert float(values[1].grad) in (pytest.approx(1 / 2), pytest.approx(1 / 4))


@pytest.mark.parametrize(
    "values",
    [torch.zeros(()), torch.zeros(4), (torch.zeros(4),), (torch.zeros(3), torch.zeros(4)), (torch.zeros(4, 1),) * 2],
)
def test_a_loss_with_other_than_one_value_per_example_is_explained(values):
    (part,) = parts((batch_of(4), batch_of(3)), 4)
    with pytest.raises(ValueError, match=r"it must return \[\(4,\), \(3,\)\]: one tensor for each batch"):
        part.loss(values)
