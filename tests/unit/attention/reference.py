"""Ragged problems for hybrid attention, and their answers in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .cases import softmax


@dataclass
class Problem:
    """Tree rows over a ragged prefix: ``q [B, heads, W, d]``, ``lengths[b]`` prefix keys."""

    query: Tensor
    prefix_keys: Tensor
    prefix_values: Tensor
    tree_keys: Tensor
    tree_values: Tensor
    mask: Tensor
    lengths: list[int]

    def tensors(self) -> tuple[Tensor, ...]:
        """What ``hybrid_attention`` takes, in its order."""
        prefix = (self.prefix_keys, self.prefix_values)
        return (self.query, *prefix, self.tree_keys, self.tree_values, self.mask)


def random_problem(
    seed: int, batch: int, kv_heads: int, groups: int, rows: int, tree: int, longest: int, dim: int
) -> Problem:
    """Float64, every row seeing itself and a random half of the tree."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=g)

    mask = torch.rand(batch, rows, tree, generator=g) < 0.5
    mask[:, torch.arange(rows), torch.arange(rows) % tree] = True
    lengths = torch.randint(1, longest + 1, (batch,), generator=g)
    lengths[0] = longest
    return Problem(
        rand(batch, kv_heads * groups, rows, dim),
        rand(batch, kv_heads, longest, dim),
        rand(batch, kv_heads, longest, dim),
        rand(batch, kv_heads, tree, dim),
        rand(batch, kv_heads, tree, dim),
        mask,
        lengths.tolist(),
    )


def softmax_attention(problem: Problem, scale: float | None = None) -> Tensor:
    """One softmax over prefix and tree, as the definition says."""
    p = problem
    keys = torch.cat([p.prefix_keys, p.tree_keys], 2)
    values = torch.cat([p.prefix_values, p.tree_values], 2)
    real = torch.arange(p.prefix_keys.shape[2]) < torch.tensor(p.lengths)[:, None]
    seen = torch.cat([real[:, None].expand(-1, p.mask.shape[1], -1), p.mask], 2)
    return softmax(p.query, keys, values, seen, scale or p.query.shape[-1] ** -0.5)[0]
