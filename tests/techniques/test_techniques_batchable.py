"""Batch norm and attention of plain operations are torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from unlearnbench.techniques.batchable import Batchable, attended, normalised


def test_batch_norm_is_torchs_own():
    torch.manual_seed(0)
    x, mean, variance, weight, bias = torch.randn(3, 5, 2, 2), *torch.randn(4, 5)
    for given in ((weight, bias), (None, None), (weight, None)):
        expected = functional.batch_norm(x, mean, variance.abs(), *given)
        torch.testing.assert_close(normalised(x, mean, variance.abs(), *given), expected)
    torch.testing.assert_close(
        normalised(x, None, None, weight, bias, True), functional.batch_norm(x, None, None, weight, bias, True)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": torch.ones(4, 4).tril().bool()},
        {"attn_mask": torch.arange(16.0).view(4, 4)}, {"enable_gqa": True, "is_causal": True},
    ],
)  # fmt: skip
def test_attention_is_torchs_own(settings):
    torch.manual_seed(0)
    query, heads = torch.randn(2, 4, 4, 8), 2 if settings.get("enable_gqa") else 4
    key, value = torch.randn(2, heads, 4, 8), torch.randn(2, heads, 4, 8)
    expected = functional.scaled_dot_product_attention(query, key, value, **settings)
    torch.testing.assert_close(attended(query, key, value, **settings), expected)


def test_layers_use_them_inside_the_block(monkeypatch):
    monkeypatch.setitem(Batchable.__torch_function__.__globals__["OURS"], functional.batch_norm, lambda *_, **__: 7)
    layer, x = torch.nn.BatchNorm1d(2).eval(), torch.zeros(1, 2)
    with Batchable():
        assert layer(x) == 7
    assert isinstance(layer(x), torch.Tensor)
