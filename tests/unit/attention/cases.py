"""Random attention of a tree, the answer in float64, and inputs that lie in memory in odd ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Of outputs that are a few units large: some roundings of the dtype."""
LSE_TOLERANCE = 1e-4
"""Scores are summed in float32 for all dtypes."""


@dataclass(frozen=True)
class Case:
    """What ``hybrid_attention`` takes; ``prefix_keys`` may be empty."""

    query: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor
    prefix_keys: Tensor
    prefix_values: Tensor

    @property
    def scale(self) -> float:
        return self.query.shape[-1] ** -0.5

    def prefix(self) -> tuple[Tensor, Tensor]:
        """``(O, LSE)`` of the prefix as a kernel would hand it on."""
        everything = self.mask.new_ones(*self.mask.shape[:2], self.prefix_keys.shape[2])
        out, lse = softmax(self.query, self.prefix_keys, self.prefix_values, everything, self.scale)
        return out.to(self.query.dtype), lse.float()

    def tree_answer(self) -> tuple[Tensor, Tensor]:
        return softmax(self.query, self.keys, self.values, self.mask, self.scale)

    def merged_answer(self) -> tuple[Tensor, Tensor]:
        """One softmax over all keys: no parts and no merge."""
        everything = self.mask.new_ones(*self.mask.shape[:2], self.prefix_keys.shape[2])
        keys = torch.cat([self.prefix_keys, self.keys], 2)
        values = torch.cat([self.prefix_values, self.values], 2)
        return softmax(self.query, keys, values, torch.cat([everything, self.mask], 2), self.scale)

    def laid_out(self, layout: Callable[[Tensor], Tensor]) -> Case:
        """The same numbers, each of the kernel's inputs at places of ``layout``'s choice."""
        parts = {name: layout(getattr(self, name)) for name in ("query", "keys", "values", "mask")}
        return replace(self, **parts)


def random_case(
    batch: int,
    kv_heads: int,
    groups: int,
    width: int,
    key_count: int,
    dim: int,
    *,
    prefix: int = 33,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    seed: int = 0,
) -> Case:
    """Normal inputs; a row sees a third of the keys, and sometimes none."""
    draw = torch.Generator().manual_seed(seed)

    def normal(heads: int, rows: int) -> Tensor:
        return torch.randn(batch, heads, rows, dim, generator=draw).to(device, dtype)

    tree = [normal(kv_heads, key_count) for _ in range(2)]
    verified = [normal(kv_heads, prefix) for _ in range(2)]
    mask = torch.rand(batch, width, key_count, generator=draw) < 1 / 3
    mask &= torch.rand(batch, width, 1, generator=draw) < 0.9
    return Case(normal(kv_heads * groups, width), *tree, mask.to(device), *verified)


def softmax(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The definition, in float64: ``(O, LSE)``, 0 and -inf for rows that see nothing."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = (part.double().repeat_interleave(groups, 1) for part in (keys, values))
    scores = (query.double() @ keys.transpose(-1, -2)) * scale
    scores = scores.masked_fill(~mask[:, None], float("-inf"))
    weights = scores.softmax(-1).nan_to_num(0.0)
    return weights @ values, scores.logsumexp(-1)


def assert_same(
    got: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor], dtype: torch.dtype
) -> None:
    """Output and log-sum-exp agree; -inf and NaN agree only with themselves and with nothing."""
    (out, lse), (wanted, wanted_lse) = got, expected
    bound = TOLERANCE[dtype]
    torch.testing.assert_close(out.double(), wanted, rtol=bound, atol=bound)
    torch.testing.assert_close(lse.double(), wanted_lse, rtol=LSE_TOLERANCE, atol=LSE_TOLERANCE)


def fenced(tensor: Tensor) -> Tensor:
    """A view amid a larger buffer of NaN (of True for a mask): reading beside it shows."""
    poison = True if tensor.dtype == torch.bool else float("nan")
    buffer = tensor.new_full([size + 2 * FENCE for size in tensor.shape], poison)
    inner = buffer[tuple(slice(FENCE, FENCE + size) for size in tensor.shape)]
    return inner.copy_(tensor)


FENCE = 3
"""Entries on either side of every dimension; odd, so that no row begins at an aligned address."""


def rows_before_heads(tensor: Tensor) -> Tensor:
    """As projections leave it: ``[B, rows, heads, d]`` in memory; a mask is transposed."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def every_other(tensor: Tensor) -> Tensor:
    """The last dimension has stride 2."""
    return torch.stack([tensor, tensor], -1)[..., 0]
