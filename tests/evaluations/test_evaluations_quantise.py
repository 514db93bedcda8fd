"""Quantise: the rounding by hand, and the whole evaluation in a run."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import norm

from unlearnbench.evaluations.quantise import NF4, robustness, rounded
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY


def test_rounding_by_hand():
    """Three bits: seven steps from -3 to 3, and the group's largest magnitude is the end of the scale."""
    weight = torch.tensor([[3.0, 1.2, -0.4, -2.6]])
    assert torch.equal(rounded(weight, bits=3, group=4), torch.tensor([[3.0, 1.0, 0.0, -3.0]]))


def test_groups_have_scales_of_their_own_along_each_row():
    weight = torch.tensor([[3.0, 1.2, 0.3, 0.12], [30.0, 12.0, 3.0, 1.2]])
    found = rounded(weight, bits=3, group=2)
    assert torch.allclose(found, torch.tensor([[3.0, 1.0, 0.3, 0.1], [30.0, 10.0, 3.0, 1.0]]))


@pytest.mark.parametrize("shape", [(5, 3), (4, 7, 3, 3), (2, 64), (3, 65)])
def test_many_bits_change_nothing_and_few_change_at_most_half_a_step(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(rounded(weight, bits=16, group=64), weight, atol=1e-4)
    step = weight.abs().max() / 7
    assert (rounded(weight, bits=4, group=64) - weight).abs().max() <= step / 2 + 1e-6
    assert rounded(weight, 4, 64).shape == weight.shape


def test_zeros_stay_zeros():
    assert torch.equal(rounded(torch.zeros(2, 8), 4, 4), torch.zeros(2, 8))


def test_levels_of_nf4_are_the_quantiles_of_the_paper():
    """QLoRA, appendix E: eight quantiles above 0 and seven below, evenly spaced in probability, and 0 itself."""
    above, below = (norm.ppf(np.linspace(0.9677083, 0.5, count)[:-1]) for count in (9, 8))
    levels = np.sort(np.concatenate([above, [0.0], -below])) / above.max()
    np.testing.assert_allclose(NF4, levels, atol=1e-6)


def test_nf4_by_hand_and_as_bitsandbytes():
    weight = torch.tensor([[2.0, -0.1, 0.17, -2.0]])
    expected = [2.0, -0.1821, 0.1592, -2.0]  # -.05 of the scale lies nearer to -.0911 than to 0
    torch.testing.assert_close(rounded(weight, "nf4", 4), torch.tensor([expected]), atol=1e-4, rtol=0)
    functional = pytest.importorskip("bitsandbytes").functional
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    theirs = functional.dequantize_4bit(*functional.quantize_4bit(weight, blocksize=64, quant_type="nf4"))
    torch.testing.assert_close(rounded(weight, "nf4", 64), theirs, atol=1e-5, rtol=1e-4)


def test_robustness_by_hand():
    assert [robustness(*pair) for pair in ((0.2, 0.4), (0.4, 0.2), (0.0, 0.0), (0.0, 0.1))] == [0.5, 1.0, 1.0, 0.0]


def test_a_run_scores_every_role_again(tmp_path):
    words = [*TINY, "method=none", "eval=[standard,quantise]", "reference.count=2", f"outputs={tmp_path}"]
    done = execute(prepare(words))
    rows = pandas.read_csv(done.folder / "metrics.csv")
    roles = {"original", "retrained_0", "retrained_1", "unlearned"}
    assert {f"{role}_{bits}" for role in roles for bits in ("8bit", "4bit", "nf4")} <= set(rows["role"])
    right = rows[(rows["metric"] == "accuracy") & (rows["split"] == "forget")].set_index("role")["value"]
    best = {role: max(right[f"{role}_{bits}"] for bits in ("8bit", "4bit", "nf4")) for role in roles}
    found = rows[rows["split"] == "forget"].set_index(["role", "metric"])["value"]
    target = (best["retrained_0"] + best["retrained_1"]) / 2 - right["retrained"]
    assert found["unlearned", "quantise_gain"] == pytest.approx(best["unlearned"] - right["unlearned"])
    assert found["retrained", "quantise_gain"] == pytest.approx(target)
    assert found["unlearned", "gap_quantise_gain"] == pytest.approx(best["unlearned"] - right["unlearned"] - target)
    assert ("retrained", "floor_quantise_gain") in found
