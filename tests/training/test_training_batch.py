"""Parts of batches: none is empty or too large, and their shares and weights sum to the whole."""

from __future__ import annotations

import pytest

from unlearnbench.training.stepper import parted


def test_parts_of_one_batch_need_no_weight_and_no_part_is_empty(tiny):
    batches = tuple(tiny.task.batch(tiny.data.train[:size], None) for size in (31, 2))
    for share, (piece,) in parted(batches[:1], 7):
        assert piece.weight == pytest.approx(1.0) and share == len(piece) / 31
    parts = list(parted(batches, 7))
    assert sum(share for share, _ in parts) == pytest.approx(1.0)
    assert all(0 < len(piece) <= 7 for _, pieces in parts for piece in pieces)
    assert sum(share * piece.weight for share, (_, piece) in parts) == pytest.approx(1.0)
