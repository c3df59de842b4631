"""Attention of a training step: each query sees a range of its own sequence's positions.

Self-attention's range is the window, cross-attention's ends at the last verified token. On a CPU
it is matrix products over blocks of queries and just the keys that a block sees: with bfloat16
that takes a third of the time of PyTorch's fused kernel, which has no such skipping of keys. On a
GPU it is FlexAttention (arXiv 2412.05496) with the same ranges as a block mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

BLOCK = 128
"""Queries of a block: its scores stay in a core's cache."""


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Masked attention: ``[B, Q, heads, d]`` over ``[B, K, kv_heads, d]``, mask ``[B, Q, K]``."""
    batch, width, heads, dim = query.shape
    shared = heads // keys.shape[2]
    rows = (query * dim**-0.5).unflatten(2, (-1, shared)).permute(0, 2, 3, 1, 4)
    bias = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
    bias = bias[:, None, None].expand(-1, heads // shared, shared, -1, -1)
    k, v = (t.to(query.dtype).transpose(1, 2).flatten(0, 1) for t in (keys, values))
    scores = torch.baddbmm(
        bias.reshape(len(k), shared * width, -1), rows.reshape(len(k), shared * width, dim), k.mT
    )
    out = scores.softmax(-1) @ v
    return out.view(batch, heads, width, dim).transpose(1, 2)


class PackedAttention:
    """Attention over sequences packed end to end.

    Args:
        sizes: queries and keys of each sequence.
        lower, upper: ``[N]`` least and greatest position that each query sees; there is one.
        positions: ``[K]`` of the keys, rising by one in each sequence.
    """

    def __init__(
        self,
        sizes: tuple[list[int], list[int]],
        lower: Tensor,
        upper: Tensor,
        positions: Tensor,
    ) -> None:
        self.sizes = sizes
        self.lower, self.upper, self.positions = lower, upper, positions
        on_cpu = positions.device.type == "cpu"
        self.blocks = [] if not on_cpu else self._blocks()
        self.block_mask = None if on_cpu else self.flex_mask()

    def __call__(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """``[N, heads, d]`` over ``[K, kv_heads, d]``."""
        if self.block_mask is None:
            return self._by_block(query, keys, values)
        return self.flex(_flex(), query, keys, values)

    def _blocks(self) -> list[list[tuple[int, slice, Tensor]]]:
        """For each sequence its blocks: queries, the keys they see, and which each sees."""
        queries, keys = self.sizes
        ranges = zip(
            self.lower.split(queries),
            self.upper.split(queries),
            self.positions.split(keys),
            strict=True,
        )
        return [
            [
                _block(low, high, positions)
                for low, high in zip(lower.split(BLOCK), upper.split(BLOCK), strict=True)
            ]
            for lower, upper, positions in ranges
        ]

    def _by_block(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        out = []
        rows = (query.split(self.sizes[0]), keys.split(self.sizes[1]), values.split(self.sizes[1]))
        for q, k, v, blocks in zip(*rows, self.blocks, strict=True):
            parts = zip(q.split([size for size, *_ in blocks]), blocks, strict=True)
            for part, (_, seen, mask) in parts:
                out.append(attend(part[None], k[None, seen], v[None, seen], mask[None])[0])
        return torch.cat(out)

    def flex_mask(self) -> Any:
        """The same ranges as FlexAttention's block mask."""
        from torch.nn.attention.flex_attention import create_block_mask

        lower, upper, positions = self.lower, self.upper, self.positions
        queries, keys = (
            torch.repeat_interleave(torch.tensor(sizes)).to(positions.device)
            for sizes in self.sizes
        )

        def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            at = positions[key]
            return (queries[query] == keys[key]) & (at >= lower[query]) & (at <= upper[query])

        shape = len(lower), len(positions)
        return create_block_mask(sees, None, None, *shape, device=positions.device)

    def flex(
        self, kernel: Callable[..., Tensor], query: Tensor, keys: Tensor, values: Tensor
    ) -> Tensor:
        """The same as a call, by FlexAttention, compiled or not."""
        q, k, v = (t.transpose(0, 1)[None] for t in (query, keys.to(query), values.to(query)))
        out = kernel(q, k, v, block_mask=self.block_mask, enable_gqa=True)
        return out[0].transpose(0, 1)


def _block(lower: Tensor, upper: Tensor, positions: Tensor) -> tuple[int, slice, Tensor]:
    origin = int(positions[0])
    seen = slice(int(lower.min().clamp(min=origin)) - origin, int(upper.max()) - origin + 1)
    here = positions[seen]
    return len(lower), seen, (here >= lower[:, None]) & (here <= upper[:, None])


@cache
def _flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=True)
    return compiled
