"""Products of a few rows in bfloat16, against exact ones, and as vLLM's layers use them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longspec_plugin.native import few_rows

needs = pytest.mark.skipif(not few_rows.available(), reason="no kernel for this processor")
SIZES = [
    (1, 31, 2),
    (2, 65, 66),
    (3, 32, 130),
    (4, 40, 258),
    (6, 64, 30),
    (14, 96, 128),
    (15, 100, 576),
    (56, 33, 64),
    (57, 576, 1536),
    (200, 64, 258),
]
ROUNDING = 2.0**-8
"""Of a bfloat16, by its size."""


def drawn(rows: int, columns: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(rows)
    sizes = ((rows, width), (columns, width), (columns,))
    x, weight, bias = (torch.randn(*size, generator=draw).bfloat16() for size in sizes)
    return x, weight, bias


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return few_rows.multiply(x, few_rows.pack(weight), bias, len(weight))


@needs
@pytest.mark.parametrize(("rows", "columns", "width"), SIZES)
@pytest.mark.parametrize("biased", [False, True])
def test_only_the_result_is_rounded(rows: int, columns: int, width: int, biased: bool) -> None:
    x, weight, bias = drawn(rows, columns, width)
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0)
    error = (product(x, weight, bias if biased else None).double() - exact).abs()
    assert bool((error <= ROUNDING * exact.abs() + 1e-4 * width**0.5).all())


@needs
@pytest.mark.parametrize(("rows", "columns", "width"), SIZES)
def test_a_row_does_not_depend_on_the_rows_beside_it(rows: int, columns: int, width: int) -> None:
    x, weight, bias = drawn(rows, columns, width)
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
    with pytest.raises(RuntimeError, match="few_rows"):
        few_rows.multiply(x.float(), packed, None, 40)


def test_what_is_packed() -> None:
    weight = torch.arange(33 * 4).view(33, 4).bfloat16()
    packed = few_rows.pack(weight)
    assert packed.shape == (2, 2, 32, 2)
    assert packed[0, 1, 5].tolist() == weight[5, 2:].tolist()
    assert packed[1, 0, 0].tolist() == weight[32, :2].tolist()
    assert not packed[1, :, 1:].any()


def test_what_is_taken() -> None:
    weight = torch.zeros(33, 4).bfloat16()
    assert few_rows.takes(weight)
    assert not any(few_rows.takes(w) for w in (weight.float(), weight[:, :3], weight[None]))


@needs
@pytest.mark.parametrize("tied", [False, True])
def test_layers_of_vllm(tied: bool) -> None:
    """Those that are loaded within, compiled too; an embedding keeps its own weight."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    from longspec_plugin.vllm.v1.linear import few_rows_products

    method = UnquantizedEmbeddingMethod() if tied else UnquantizedLinearMethod()
    x, weight, bias = drawn(9, 96, 64)

    def loaded(weight: Tensor, wanted: bool) -> torch.nn.Module:
        layer = torch.nn.Module()
        layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
        with few_rows_products(wanted):
            method.process_weights_after_loading(layer)
        return layer

    ours, stock = loaded(weight, True), loaded(weight, False)
    expected = product(x, weight, bias)
    assert torch.equal(method.apply(ours, x, bias), expected)
    compiled = torch.compile(lambda x: method.apply(ours, x, bias), fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), expected)
    assert torch.allclose(method.apply(stock, x, bias), expected, rtol=0.02, atol=0.02)
    assert torch.equal(ours.weight, weight) is tied
    wide = loaded(weight.float(), True)  # not ours: as vLLM itself
    assert torch.allclose(
        method.apply(wide, x.float(), None), x.float() @ weight.float().T, atol=1e-3
    )
