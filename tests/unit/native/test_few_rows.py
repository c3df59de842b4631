"""Products of a few rows, against exact ones, and as vLLM's layers use them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longspec_plugin.native import few_rows

needs = pytest.mark.skipif(not few_rows.available(), reason="no kernel for this processor")
SIZES = [
    (1, 31, 8),
    (2, 65, 72),
    (3, 32, 136),
    (4, 40, 264),
    (6, 64, 40),
    (14, 96, 128),
    (15, 100, 576),
    (56, 33, 64),
    (57, 576, 1536),
    (200, 64, 264),
]
TYPES = [
    dtype
    for dtype in (torch.bfloat16, torch.float32)
    if few_rows.takes(torch.zeros(2, 8, dtype=dtype))
]
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-23}
"""Of a number, by its size."""


def drawn(
    rows: int, columns: int, width: int, dtype: torch.dtype = torch.bfloat16
) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(rows)
    sizes = ((rows, width), (columns, width), (columns,))
    x, weight, bias = (torch.randn(*size, generator=draw).to(dtype) for size in sizes)
    return x, weight, bias


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return few_rows.multiply(x, few_rows.pack(weight), bias, len(weight))


@needs
@pytest.mark.parametrize(("rows", "columns", "width"), SIZES)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_only_sums_and_the_result_are_rounded(
    rows: int, columns: int, width: int, biased: bool, dtype: torch.dtype
) -> None:
    x, weight, bias = drawn(rows, columns, width, dtype)
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0)
    found = product(x, weight, bias if biased else None)
    assert found.dtype == dtype
    sums = 2.0**-23 * (x.double().abs() @ weight.double().abs().T)  # in float32, in any order
    allowed = ROUNDING[dtype] * exact.abs() + width**0.5 * sums.clamp(max=1e-4)
    assert bool(((found.double() - exact).abs() <= allowed).all())


@needs
@pytest.mark.parametrize(("rows", "columns", "width"), SIZES)
@pytest.mark.parametrize("dtype", TYPES)
def test_a_row_does_not_depend_on_the_rows_beside_it(
    rows: int, columns: int, width: int, dtype: torch.dtype
) -> None:
    x, weight, bias = drawn(rows, columns, width, dtype)
    together = product(x, weight, bias)
    assert torch.equal(together, torch.cat([product(row[None], weight, bias) for row in x]))


@needs
def test_threads_do_not_change_a_bit() -> None:
    x, weight, bias = drawn(20, 200, 320)
    alone = product(x, weight, bias)
    torch.set_num_threads(3)
    assert torch.equal(product(x, weight, bias), alone)


@needs
def test_no_rows_and_rows_of_any_layout() -> None:
    x, weight, bias = drawn(12, 64, 128)
    expected = product(x, weight, bias)
    assert product(x[:0], weight, bias).shape == (0, 64)
    assert torch.equal(product(x.view(3, 4, 128), weight, bias).flatten(0, 1), expected)
    assert torch.equal(product(torch.cat([x, x], 1)[:, :128], weight, bias), expected)
    assert torch.equal(product(x.T.contiguous().T, weight, bias), expected)


@needs
def test_wrong_sizes_are_refused_before_anything_is_read() -> None:
    x, weight, bias = drawn(2, 40, 64)
    packed = few_rows.pack(weight)
    for wrong in ((x[:, :32], packed, None, 40), (x, packed, bias[:39], 40), (x, packed, None, 70)):
        with pytest.raises(RuntimeError, match="few_rows"):
            few_rows.multiply(*wrong)
    for mixed in ((x.float(), packed, None), (x, packed, bias.float()), (x, packed.half(), None)):
        with pytest.raises(RuntimeError, match="few_rows"):
            few_rows.multiply(*mixed, 40)


@pytest.mark.parametrize(("dtype", "side"), [(torch.bfloat16, 2), (torch.float32, 1)])
@pytest.mark.parametrize("parts", [1, 4])
def test_what_is_packed(
    dtype: torch.dtype, side: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "streams", lambda: parts)
    weight = torch.arange(33 * 24).view(33, 24).to(dtype)
    packed = few_rows.pack(weight)
    assert packed.shape == (parts, 2, 24 // side // parts, 32, side)
    steps = weight.view(33, -1, side)  # of [parts], then what comes after in the same part
    assert torch.equal(packed[0, 0, 1, 5], steps[5, parts])
    assert torch.equal(packed[-1, 1, 2, 0], steps[32, 3 * parts - 1])
    assert not packed[:, 1, :, 1:].any()


def test_what_is_taken() -> None:
    weight = torch.zeros(33, 8).bfloat16()
    avx2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
    assert few_rows.takes(weight)
    assert few_rows.takes(weight.float()[:, :4]) is avx2
    assert not any(few_rows.takes(w) for w in (weight.half(), weight[:, :3], weight[None]))
    assert few_rows.takes(weight[:, :6]) is not avx2
