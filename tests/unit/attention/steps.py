"""A step of an engine: ragged trees behind prefixes in a paged cache, and the answer in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proposers.attention.paged_triton import paged_attention
from proposers.attention.rows import PagedRows
from proposers.attention.tree_triton import ragged_tree_attention_triton
from proposers.tree import ancestor_mask, from_parents

from .flash import flash_attn_varlen_func

FENCE = 7.0
"""What rows of no request hold, before and after."""
PAGE = 16


@dataclass(frozen=True)
class Step:
    """Rows of trees with other rows in front, between and behind.

    Attributes:
        query: ``[rows, heads, d]``.
        step_keys, step_values: ``[rows, kv_heads, d]``, views of one fused tensor.
        keys, values: ``[pages, kv_heads, PAGE, d]`` of the prefixes and, behind them, of the trees.
    """

    query: Tensor
    step_keys: Tensor
    step_values: Tensor
    keys: Tensor
    values: Tensor
    rows: PagedRows

    @property
    def scale(self) -> float:
        return self.query.shape[-1] ** -0.5

    def tree(self, b: int) -> slice:
        first = int(self.rows.first[b])
        return slice(first, first + int(self.rows.counts[b]))


Layout = Callable[[Tensor], tuple[Tensor, Tensor]]


def keys_dense(memory: Tensor) -> tuple[Tensor, Tensor]:
    """As vLLM's Triton backend stores them: ``[pages, page, kv_heads, K and V]``."""
    both = memory.transpose(1, 2).contiguous().transpose(1, 2)
    half = memory.shape[-1] // 2
    return both[..., :half], both[..., half:]


def keys_transposed(memory: Tensor) -> tuple[Tensor, Tensor]:
    """As vLLM's CPU backend stores them: keys of a page along its tokens."""
    half = memory.shape[-1] // 2
    keys = memory[..., :half].transpose(2, 3).contiguous().transpose(2, 3)
    return keys, memory[..., half:].contiguous()


def random_step(
    trees: Sequence[Sequence[int]],
    prefixes: Sequence[int],
    kv_heads: int,
    groups: int,
    dim: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    layout: Layout = keys_dense,
    seed: int = 0,
) -> Step:
    """Normal inputs. ``trees``: parents of the nodes of each request's tree."""
    draw = torch.Generator().manual_seed(seed)
    rows = _rows(trees, prefixes, draw)
    count = int(rows.first[-1] + rows.counts[-1]) + 2
    fused = torch.randn(count, kv_heads * (groups + 2), dim, generator=draw)
    query, keys, values = fused.to(device, dtype).split_with_sizes(
        [kv_heads * groups, kv_heads, kv_heads], 1
    )
    pages = torch.randn(int(rows.table.max()) + 1, kv_heads, PAGE, 2 * dim, generator=draw)
    cache = layout(pages.to(device, dtype))
    moved = {k: v.to(device) for k, v in vars(rows).items() if isinstance(v, Tensor)}
    step = Step(query, keys, values, *cache, PagedRows(rows.width, **moved))
    _store_trees(step)
    return step


def _rows(
    trees: Sequence[Sequence[int]], prefixes: Sequence[int], draw: torch.Generator
) -> PagedRows:
    batch = len(trees)
    drafted = from_parents([[0] * len(tree) for tree in trees], trees)
    counts, width = 1 + drafted.sizes, 1 + drafted.max_nodes
    slots = torch.randperm(batch + 3, generator=draw)[:batch]
    mask = torch.randint(0, 2, (batch + 3, width, width), dtype=torch.uint8, generator=draw)
    mask[slots] = ancestor_mask(drafted).to(torch.uint8)  # slots of others: anything
    first = 3 + counts.cumsum(0) - counts + torch.arange(batch)
    needed = -(-(max(prefixes) + width) // PAGE)
    table = torch.randperm(batch * needed, generator=draw).view(batch, needed)
    numbers = (part.int() for part in (first, counts, torch.tensor(prefixes), table))
    return PagedRows(width, *numbers, slots, mask)


def _store_trees(step: Step) -> None:
    """The step's keys and values in the cache, as an engine puts them there."""
    rows = step.rows
    for b, prefix in enumerate(rows.prefix.tolist()):
        own = step.tree(b)
        at = torch.arange(prefix, prefix + own.stop - own.start, device=rows.table.device)
        page = rows.table[b, at // PAGE].long()
        step.keys[page, :, at % PAGE] = step.step_keys[own]
        step.values[page, :, at % PAGE] = step.step_values[own]


def answer(step: Step) -> Tensor:
    """By definition, in float64 on the CPU; rows of no request are fenced."""
    out = torch.full(step.query.shape, FENCE, dtype=torch.float64)
    for b, prefix in enumerate(step.rows.prefix.tolist()):
        own = step.tree(b)
        out[own] = _attend(step, b, prefix, own)
    return out


def _attend(step: Step, b: int, prefix: int, own: slice) -> Tensor:
    rows, count = step.rows, own.stop - own.start
    assert rows.mask is not None
    seen = torch.ones(count, prefix + count, dtype=torch.bool)
    seen[:, prefix:] = rows.mask[rows.slots[b], :count, :count].bool().cpu()
    pages = rows.table[b, : -(-seen.shape[1] // PAGE)].long()
    parts = (part[pages].transpose(1, 2).flatten(0, 1) for part in (step.keys, step.values))
    keys, values = (part[: seen.shape[1]].transpose(0, 1).cpu().double() for part in parts)
    query = step.query[own].transpose(0, 1).unflatten(0, (len(keys), -1)).cpu().double()
    scores = (query @ keys[:, None].mT * step.scale).masked_fill(~seen, float("-inf"))
    return (scores.softmax(-1) @ values[:, None]).flatten(0, 1).transpose(0, 1)


def flash_prefix(step: Step) -> tuple[Tensor, Tensor]:
    """The state of the prefixes; between the trees lie rows of requests without keys."""
    rows = step.rows
    bounds = torch.stack([rows.first, rows.first + rows.counts], 1).flatten()
    bounds = torch.cat([bounds[:1] * 0, bounds, bounds[:1] * 0 + len(step.query)])
    used = torch.zeros(len(bounds) - 1, dtype=torch.int32, device=bounds.device)
    used[1::2] = rows.prefix
    table = rows.table.new_zeros(len(used), rows.table.shape[1])
    table[1::2] = rows.table
    return flash_attn_varlen_func(
        q=step.query,
        k=step.keys.transpose(1, 2),
        v=step.values.transpose(1, 2),
        max_seqlen_q=len(step.query),
        cu_seqlens_q=bounds,
        max_seqlen_k=int(rows.prefix.max()),
        seqused_k=used,
        block_table=table,
        softmax_scale=step.scale,
        causal=False,
        return_softmax_lse=True,
    )


def hybrid(step: Step, rows: PagedRows | None = None, no_prefix: bool = False) -> Tensor:
    """The prefix by FlashAttention's call and the trees by the ragged kernel."""
    prefix = flash_prefix(step)
    if no_prefix:
        prefix[1].fill_(float("inf"))
    out = torch.full_like(step.query, FENCE)
    parts = (step.query, step.step_keys, step.step_values)
    ragged_tree_attention_triton(*parts, out, rows or step.rows, step.scale, prefix)
    return out.double().cpu()


def paged(step: Step, rows: PagedRows | None = None, **options: int) -> Tensor:
    """All in one, over the paged cache."""
    out = torch.full_like(step.query, FENCE)
    cache = (step.keys, step.values)
    paged_attention(step.query, *cache, out, rows or step.rows, step.scale, **options)
    return out.double().cpu()


def refill(step: Step, other: Step) -> None:
    """The other step's numbers in this one's tensors, as an engine's next step comes."""
    for old, new in ((step, other), (step.rows, other.rows)):
        for name, part in vars(old).items():
            if isinstance(part, Tensor):
                part.copy_(getattr(new, name))
