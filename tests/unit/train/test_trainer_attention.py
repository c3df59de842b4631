"""Packed attention, by blocks and by FlexAttention, against one dense mask."""

import pytest
import torch
from torch import Tensor

from proposers.train.trainer import attention
from proposers.train.trainer.attention import PackedAttention, attend

QUERIES, KEYS = [5, 9, 1], [8, 14, 3]
WINDOW = 4


def ranges(kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Least and greatest position seen by each query, and positions of the keys.

    The window's keys begin in the midst of a sequence, the cache's at its beginning.
    """
    last = torch.cat([torch.arange(20 - q, 20) for q in QUERIES])
    if kind == "window":
        return last - WINDOW, last, torch.cat([torch.arange(20 - k, 20) for k in KEYS])
    known = torch.cat([torch.arange(q) * (k - q) // q for q, k in zip(QUERIES, KEYS, strict=True)])
    return torch.zeros_like(known), known, torch.cat([torch.arange(k) for k in KEYS])


def dense(lower: Tensor, upper: Tensor, positions: Tensor) -> Tensor:
    """``[N, K]`` which query sees which key."""
    ours = torch.block_diag(*(torch.ones(q, k) for q, k in zip(QUERIES, KEYS, strict=True))).bool()
    return ours & (positions >= lower[:, None]) & (positions <= upper[:, None])


def tensors() -> list[Tensor]:
    torch.manual_seed(0)
    sizes = (sum(QUERIES), 6), (sum(KEYS), 2), (sum(KEYS), 2)
    return [torch.randn(*size, 16, requires_grad=True) for size in sizes]


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax in float64, keys repeated for the heads that share them."""
    k, v = (t.double().repeat_interleave(3, 1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q.double(), k) * 16**-0.5
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, -torch.inf).softmax(-1), v)


@pytest.mark.parametrize("kind", ["window", "cache"])
@pytest.mark.parametrize("block", [2, 128])
def test_blocks_see_what_the_dense_mask_says(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "BLOCK", block)
    q, k, v = tensors()
    span = ranges(kind)
    out = PackedAttention((QUERIES, KEYS), *span)(q, k, v)
    expected = reference(q, k, v, dense(*span))
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(out)
    ours = torch.autograd.grad((out * weight).sum(), [q, k, v])
    theirs = torch.autograd.grad((expected * weight).sum(), [q, k, v])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["window", "cache"])
def test_flex_attention_sees_the_same(kind: str) -> None:
    from torch.nn.attention.flex_attention import flex_attention

    span = ranges(kind)
    packed = PackedAttention((QUERIES, KEYS), *span)
    packed.block_mask = packed.flex_mask()
    rows = torch.arange(sum(QUERIES))[:, None]
    seen = packed.block_mask.mask_mod(rows, rows, rows, torch.arange(sum(KEYS)))
    assert torch.equal(seen, dense(*span))
    q, k, v = (t.detach() for t in tensors())  # no backward pass on CPUs
    out = packed.flex(flex_attention, q, k, v)
    torch.testing.assert_close(out, packed._by_block(q, k, v), rtol=1e-5, atol=1e-5)


def test_attend_over_a_padded_batch() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, size, heads, 16) for size, heads in ((5, 6), (9, 2), (9, 2)))
    mask = torch.rand(2, 5, 9) < 0.5
    mask[..., 0] = True
    out = attend(q, k, v, mask)
    for row in range(2):
        expected = reference(q[row], k[row], v[row], mask[row])
        torch.testing.assert_close(out[row].double(), expected, rtol=1e-5, atol=1e-5)
