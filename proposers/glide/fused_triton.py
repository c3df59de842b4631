"""What lies between a draft's matrix products and its attention, in one Triton kernel each.

In plain torch these are some sixty operators a level; a level has few rows, so a GPU spends more
time on launching them than on their work. Numbers are computed in float32, whatever their type.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernels import jit, require_triton, tl, triton

MOST_COLUMNS = 16 * 1024
"""Of a row that a program reads at once."""


def norms(x: Tensor, weights: Tensor, states: Tensor | None, eps: float) -> Tensor:
    """The RMS norm of each row by each of several weights, and that of its request's state.

    Raises ImportError where Triton is not installed, as all functions of this module.

    Args:
        x: ``[B * W, H]``, dense.
        weights: ``[parts, H]``.
        states: ``[B, H]``, normed without a weight, or None.

    Returns:
        ``[B * W, parts, H]``, or ``parts + 1`` with states behind the others.
    """
    require_triton("norms")
    (count, size), parts = x.shape, len(weights)
    out = x.new_empty(count, parts + (states is not None), size)
    states = x if states is None else states  # something to point to
    if count:  # a launch of no programs is an error
        with torch.cuda.device_of(x):  # Triton launches on the current device
            _norms[(count,)](
                *(x, weights, states, out, count // len(states), states.stride(0), size, eps),
                parts=parts,
                with_states=out.shape[1] > parts,
                block=triton.next_power_of_2(size),
                num_warps=_warps(size),
            )
    return out


def add_norm(x: Tensor, y: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """``x + y`` and its RMS norm, ``[n, H]`` each as both are; without a weight it is all ones."""
    require_triton("add_norm")
    total, normed = torch.empty_like(x), torch.empty_like(x)
    with torch.cuda.device_of(x):
        _add_norm[(len(x),)](
            *(x, y, x if weight is None else weight, total, normed, x.shape[1], eps),
            weighted=weight is not None,
            block=triton.next_power_of_2(x.shape[1]),
            num_warps=_warps(x.shape[1]),
        )
    return total, normed


def gated(gate_up: Tensor) -> Tensor:
    """``silu(gate) * up`` of ``[n, 2 * I]``, gates before ups: ``[n, I]``."""
    require_triton("gated")
    count, size = len(gate_up), gate_up.shape[1] // 2
    out, block = gate_up.new_empty(count, size), min(triton.next_power_of_2(size), 1024)
    with torch.cuda.device_of(gate_up):
        _gated[count, triton.cdiv(size, block)](gate_up, out, size, block=block)
    return out


def log_sums(logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits ``[n, V]`` over the temperature in float32, and their log-sum-exps ``[n, 1]``."""
    require_triton("log_sums")
    count, size = logits.shape
    out = logits.new_empty(count, size, dtype=torch.float32)
    sums = out.new_empty(count, 1)
    block = min(triton.next_power_of_2(size), MOST_COLUMNS)
    with torch.cuda.device_of(logits):
        _log_sums[(count,)](
            *(logits, out, sums, size, float(temperature)),
            block=block,
            num_warps=max(4, block // 1024),
        )
    return out, sums


def _warps(size: int) -> int:
    """Of a program that has a row of so many columns."""
    return min(max(1, triton.next_power_of_2(size) // 512), 16)


@jit()
def _scaled(values, size, eps):  # type: ignore[no-untyped-def]
    """A row over its root mean square."""
    return values / tl.sqrt(tl.sum(values * values, 0) / size + eps)


@jit("width", "state_b")
def _norms(  # type: ignore[no-untyped-def]  # Triton gives annotations a meaning of its own
    x, weights, states, out, width, state_b, size, eps,
    parts: tl.constexpr, with_states: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """A program a row."""
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, block)
    inside = column < size
    values = tl.load(x + row * size + column, mask=inside, other=0.0).to(tl.float32)
    normed = _scaled(values, size, eps)
    out += row * (parts + with_states) * size + column
    for part in tl.static_range(parts):
        weight = tl.load(weights + part * size + column, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + part * size, (normed * weight).to(out.dtype.element_ty), mask=inside)
    if with_states:
        states += row // width * state_b
        values = tl.load(states + column, mask=inside, other=0.0).to(tl.float32)
        normed = _scaled(values, size, eps)
        tl.store(out + parts * size, normed.to(out.dtype.element_ty), mask=inside)


@jit()
def _add_norm(  # type: ignore[no-untyped-def]
    x, y, weights, total, normed, size, eps, weighted: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    """A program a row."""
    column = tl.arange(0, block)
    inside, at = column < size, tl.program_id(0).to(tl.int64) * size + column
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    values += tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(total + at, values.to(total.dtype.element_ty), mask=inside)
    values = _scaled(values, size, eps)
    if weighted:
        values *= tl.load(weights + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normed + at, values.to(normed.dtype.element_ty), mask=inside)


@jit()
def _gated(gate_up, out, size, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Program ``(row, block of columns)``."""
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * block + tl.arange(0, block)
    inside = column < size
    gate = tl.load(gate_up + row * 2 * size + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * size + size + column, mask=inside, other=0.0).to(tl.float32)
    result = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * size + column, result.to(out.dtype.element_ty), mask=inside)


@jit()
def _log_sums(logits, out, sums, size, temperature, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program a row: the sum so far is of exponentials less the greatest."""
    row = tl.program_id(0).to(tl.int64)
    top = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    for start in range(0, size, block):
        column = start + tl.arange(0, block)
        inside = column < size
        values = tl.load(logits + row * size + column, mask=inside, other=float("-inf"))
        values = values.to(tl.float32) / temperature
        tl.store(out + row * size + column, values, mask=inside)
        higher = tl.maximum(top, tl.max(values, 0))
        total = total * tl.exp(top - higher) + tl.sum(tl.exp(values - higher), 0)
        top = higher
    tl.store(sums + row + tl.arange(0, 1), top + tl.log(total))
