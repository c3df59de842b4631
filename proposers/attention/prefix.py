"""The part that all rows see alike: the verified tokens, by a stock kernel that tells its LSE.

Which kernel, by device and dtype:

- CPU: PyTorch's flash kernel. (In bf16 a product, a softmax and a product are faster for many rows
  only, 1.3 to 1.6 times at 48, and round the scores to 8 bits, so this is not done.)
- CUDA, half precision: flash attention, which splits long prefixes over the device. It knows no
  mask, so ragged batches go to the memory-efficient kernel.
- CUDA, float32: the memory-efficient kernel. Anything else: two products in plain PyTorch.

Grouped heads are folded into the rows: ``G`` heads of ``W`` rows that share a KV head are ``G * W``
rows of one head, so each key is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

HALF = (torch.float16, torch.bfloat16)
ALIGNMENT = 8
"""CUDA kernels read a bias in groups of this many entries."""


def prefix_attention(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of all rows over the same keys, not causal.

    Args:
        query: ``[B, heads, W, d]``; keys, values: ``[B, kv_heads, S, d]``, ``heads`` being a
            multiple of ``kv_heads``.
        bias: from :func:`key_bias`, or None where all ``S`` keys of every request count.

    Returns:
        the output ``[B, heads, W, d]`` and its log-sum-exp ``[B, heads, W]`` (natural logarithm).
    """
    rows = fold(query, keys.shape[1])
    out, lse = _kernel(rows, bias)(rows, keys, values, bias, scale)
    return unfold(out, query.shape[1]), unfold(lse, query.shape[1])


def key_bias(lengths: Sequence[int], width: int, like: Tensor) -> Tensor | None:
    """``[B, 1, 1, width]``: 0 for the first ``lengths[b]`` keys, -inf behind; None if all count."""
    if all(length == width for length in lengths):
        return None
    padded = -(-width // ALIGNMENT) * ALIGNMENT
    counts = torch.tensor(lengths, device=like.device)[:, None]
    real = torch.arange(padded, device=like.device) < counts
    bias = torch.zeros(real.shape, dtype=like.dtype, device=like.device)
    return bias.masked_fill_(~real, float("-inf"))[:, None, None, :width]


def causal_attention(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Plain causal attention of a whole prompt; shapes as in :func:`prefix_attention`."""
    grouped = query.shape[1] != keys.shape[1]
    return F.scaled_dot_product_attention(
        query, keys, values, is_causal=True, scale=scale, enable_gqa=grouped
    )


def fold(rows: Tensor, kv_heads: int) -> Tensor:
    """``[B, heads, W, ...]`` to ``[B, kv_heads, G * W, ...]``."""
    return rows.unflatten(1, (kv_heads, -1)).flatten(2, 3)


def unfold(rows: Tensor, heads: int) -> Tensor:
    """The way back from :func:`fold`."""
    groups = heads // rows.shape[1]
    return rows.unflatten(2, (groups, -1)).flatten(1, 2)


Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]


def has_cpu_flash(query: Tensor) -> bool:
    """Whether PyTorch's flash kernel for CPUs takes it."""
    return query.device.type == "cpu" and query.dtype != torch.float16


def _kernel(query: Tensor, bias: Tensor | None) -> Kernel:
    if has_cpu_flash(query):
        return cpu_flash
    if query.device.type == "cuda" and query.shape[-1] % ALIGNMENT == 0:
        if query.dtype in HALF and bias is None:
            return _cuda_flash
        if query.dtype in (*HALF, torch.float32):
            return _cuda_efficient
    return _plain


def cpu_flash(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """PyTorch's kernel; ``bias`` broadcasts to ``[B, kv_heads, rows, S]``."""
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = attend(query, keys, values, attn_mask=bias, scale=scale)
    return out, lse


def _cuda_flash(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    attend = torch.ops.aten._scaled_dot_product_flash_attention
    out, lse, *_ = attend(query, keys, values, 0.0, False, False, scale=scale)
    return out, lse


def _cuda_efficient(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    if bias is not None:
        bias = bias.expand(-1, query.shape[1], query.shape[2], -1)
    attend = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = attend(query, keys, values, bias, True, scale=scale)
    return out, lse[..., : query.shape[2]]  # padded to full blocks


def _plain(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    scores = (query @ keys.transpose(-1, -2)).float() * scale
    if bias is not None:
        scores = scores + bias
    lse = scores.logsumexp(-1)
    return (scores - lse[..., None]).exp().to(values.dtype) @ values, lse
