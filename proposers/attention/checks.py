"""Refusals of what the kernels would read wrongly, in one line each."""

from __future__ import annotations

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_HEAD_DIM = 256

Wanted = dict[str, tuple[Tensor, tuple[int, ...]]]
"""Tensors by name, with the shape that each must have."""


def check_numbers(
    query: Tensor, keys: Tensor, values: Tensor, mask: torch.dtype | None, wanted: torch.dtype
) -> None:
    """Heads (dimension 1 of all), head size (the last), dtypes; the mask's must be ``wanted``.

    Raises:
        ValueError: one of them does not fit.
    """
    heads, kv_heads, dim = query.shape[1], keys.shape[1], query.shape[-1]
    if heads % kv_heads:
        raise ValueError(f"{heads} heads over {kv_heads} KV heads; allowed: a multiple")
    if query.dtype not in DTYPES or {keys.dtype, values.dtype} != {query.dtype}:
        names = f"{query.dtype}, {keys.dtype}, {values.dtype}"
        raise ValueError(f"query, keys, values are {names}; allowed: one of {DTYPES} for all")
    if dim > MAX_HEAD_DIM or mask != wanted:
        raise ValueError(f"head size {dim}, mask {mask}; allowed: to {MAX_HEAD_DIM}, {wanted}")


def check_shapes(wanted: Wanted) -> None:
    """A kernel would read outside of a tensor that is smaller than it should be.

    Raises:
        ValueError: a shape differs.
    """
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(f"{name} is {[*tensor.shape]}; with this query it must be {[*shape]}")
