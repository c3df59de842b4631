"""KV of accepted nodes brought behind their root, in all layers by one Triton kernel.

A tree's rows are stored as they stand in the step, and an accepted path is some of them: what
comes after expects it right behind its root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels import jit, require_triton, tl, triton

KV = tuple[Tensor, Tensor]


class KVMover:
    """Moves KV in the caches that it was made for, which must stay where they are.

    Args:
        caches: keys and values of each layer, ``[blocks, kv_heads, block size, d]``. All keys are
            alike in shape, strides, dtype and device, and so are all values; strides of keys may
            differ from those of values.

    Raises:
        ImportError: Triton is not installed.
        ValueError: there is no layer, or one is not like the others.
    """

    def __init__(self, caches: Sequence[KV]) -> None:
        require_triton("KVMover")
        _check(caches)
        # A layer may share another's cache; two programs would move it in each other's way.
        unique = {keys.data_ptr(): (keys, values) for keys, values in caches}
        self.caches = list(unique.values())
        pointers = [[part.data_ptr() for part in layer] for layer in self.caches]
        self.pointers = torch.tensor(pointers, device=caches[0][0].device)
        self.alignment = math.gcd(16, *self.pointers.flatten().tolist())

    def move(self, rows: Tensor, first: Tensor, flat_rows: Tensor, slots: Tensor) -> None:
        """Copy the KV of every accepted row to the place of its depth behind the root.

        One launch, whose shape follows from the sizes of ``rows`` alone.

        Args:
            rows: ``[B, D + 1]`` a walk's rows (:class:`proposers.acceptance.Walk`); -1 pads.
            first: ``[B]`` where each request's rows begin among the rows that have logits.
            flat_rows: where those lie among all rows of the step.
            slots: where each row of the step is cached: slot ``s`` is place ``s % block size`` of
                block ``s // block size``.
        """
        (keys, values), (batch, width) = self.caches[0], rows.shape
        if batch == 0 or width < 2:
            return
        with torch.cuda.device_of(keys):  # Triton launches on the current device
            _kernel[len(self.caches), batch, keys.shape[1]](
                *(self.pointers, rows, first, flat_rows, slots, width - 1),
                *(*rows.stride(), *keys.stride(), *values.stride()),
                dim=keys.shape[-1],
                page=keys.shape[2],
                element=_integer(keys),
                alignment=self.alignment,
                block_levels=triton.next_power_of_2(width - 1),
                block_dim=triton.next_power_of_2(keys.shape[-1]),
            )


def _check(caches: Sequence[KV]) -> None:
    if not caches:
        raise ValueError("no layer's KV to move; give keys and values of at least one")
    wanted = [_form(part) for part in caches[0]]
    for number, layer in enumerate(caches):
        for name, part, form in zip(("keys", "values"), layer, wanted, strict=True):
            if _form(part) != form:
                raise ValueError(f"{name} of layer {number} are {_form(part)}; as in 0: {form}")
    if caches[0][0].shape != caches[0][1].shape or caches[0][0].dtype != caches[0][1].dtype:
        raise ValueError(f"keys are {wanted[0]}, values {wanted[1]}; allowed: one shape and dtype")


def _form(part: Tensor) -> str:
    return f"{[*part.shape]}, strides {[*part.stride()]}, {part.dtype} on {part.device}"


def _integer(part: Tensor) -> object:
    """Numbers are copied as integers of their size, whatever they mean."""
    return {1: tl.int8, 2: tl.int16, 4: tl.int32, 8: tl.int64}[part.element_size()]


@jit()
def _kernel(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    pointers, rows, first, flat_rows, slots, levels,
    row_b, row_d, key_p, key_h, key_t, key_d, value_p, value_h, value_t, value_d,
    dim: tl.constexpr, page: tl.constexpr, element: tl.constexpr, alignment: tl.constexpr,
    block_levels: tl.constexpr, block_dim: tl.constexpr,
):  # fmt: skip
    """Program ``(layer, request, KV head)``; ``x_y`` is the stride of x along y."""
    request, kv_head = tl.program_id(1), tl.program_id(2).to(tl.int64)
    level = 1 + tl.arange(0, block_levels)
    row = tl.load(rows + request * row_b + level * row_d, mask=level <= levels, other=-1)
    moved = (row > 0) & (row != level)
    root = tl.load(first + request).to(tl.int64)
    source = tl.load(flat_rows + root + row, mask=moved, other=0).to(tl.int64)
    target = tl.load(flat_rows + root + level, mask=moved, other=0).to(tl.int64)
    source = tl.load(slots + source, mask=moved, other=0).to(tl.int64)
    target = tl.load(slots + target, mask=moved, other=0).to(tl.int64)

    pair = pointers + 2 * tl.program_id(0)
    keys = tl.multiple_of(tl.load(pair).to(tl.pointer_type(element)), alignment)
    values = tl.multiple_of(tl.load(pair + 1).to(tl.pointer_type(element)), alignment)
    column = tl.arange(0, block_dim)[None, :]
    keys += kv_head * key_h + column * key_d
    values += kv_head * value_h + column * value_d
    tile = moved[:, None] & (column < dim)
    at = source // page * key_p + source % page * key_t
    key_rows = tl.load(keys + at[:, None], mask=tile)
    at = source // page * value_p + source % page * value_t
    value_rows = tl.load(values + at[:, None], mask=tile)
    # A row may be read for one place and overwritten for another: no thread may write before all
    # have read.
    tl.debug_barrier()
    at = target // page * key_p + target % page * key_t
    tl.store(keys + at[:, None], key_rows, mask=tile)
    at = target // page * value_p + target % page * value_t
    tl.store(values + at[:, None], value_rows, mask=tile)
