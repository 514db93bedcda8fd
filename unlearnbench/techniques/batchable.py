"""Batch norm and attention of plain operations, which torch.func can batch in any precision.

Under vmap, torch's own batch norm refuses float32 weights beside bfloat16 images. Its fast kernels of attention run one
example after another, and its plain one mixes up precisions on the way back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Batchable(TorchFunctionMode):
    """Replace torch's batch norm, in evaluation mode, and attention inside the block."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch's, or ours in its place."""
        return OURS.get(func, func)(*args, **(kwargs or {}))


def normalised(
    x: Tensor, mean: Tensor | None, variance: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Return what `functional.batch_norm` returns; plain operations where it uses running statistics."""
    if training or mean is None or variance is None:
        return functional.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    scale = (variance + eps).rsqrt() if weight is None else weight * (variance + eps).rsqrt()
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = (1, -1, *[1] * (x.ndim - 2))
    return (x * scale.view(shape) + shift.view(shape)).to(x.dtype)


def attended(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Return what `functional.scaled_dot_product_attention` returns without dropout, computed in float32."""
    with torch.autocast(query.device.type, enabled=False):
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = (one.repeat_interleave(times, dim=-3) for one in (key, value))
        scores = query.float() @ key.float().transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, -torch.inf)
        if attn_mask is not None:
            boolean = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if boolean else scores + attn_mask
        return (scores.softmax(dim=-1) @ value.float()).to(query.dtype)


OURS: dict[Any, Any] = {functional.batch_norm: normalised, functional.scaled_dot_product_attention: attended}
