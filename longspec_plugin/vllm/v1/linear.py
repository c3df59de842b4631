"""The target's matrix products by our kernel.

Why: vLLM hands them to oneDNN, which takes 1.8 times as long for 14 rows as for one; here they take
1.2 times as long, and up to some hundred rows are quicker (docs/vllm.md). How: while the model
loads, vLLM's choice of a product is ours for weights that the kernel takes; they are packed once,
in place of its own packing, so that memory stays as it was. Upstream: no registry of products for
CPUs in 0.32. It can go when oneDNN overlaps reading with multiplying.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from vllm.model_executor.layers import utils

from ...native import few_rows

_log = logging.getLogger("vllm.longspec")


@contextmanager
def few_rows_products(wanted: bool) -> Iterator[None]:
    """Weights that are loaded within are multiplied by our kernel, if that is ``wanted``."""
    stock = utils.dispatch_cpu_unquantized_gemm

    taken: set[torch.dtype] = set()

    def dispatch(layer: Any, remove_weight: bool) -> None:
        if layer.weight.is_meta or not few_rows.takes(layer.weight):
            stock(layer, remove_weight)
            return
        if layer.weight.dtype not in taken:
            taken.add(layer.weight.dtype)
            _log.info("longspec: products of %s by its own kernel", layer.weight.dtype)
        _take(layer, remove_weight)

    if wanted and few_rows.available():
        utils.dispatch_cpu_unquantized_gemm = dispatch
    try:
        yield
    finally:
        utils.dispatch_cpu_unquantized_gemm = stock


def _take(layer: Any, remove_weight: bool) -> None:
    columns, packed = layer.weight.shape[0], few_rows.pack(layer.weight.data)
    if remove_weight:  # a parameter is an input of the compiled graph, not a constant in it
        layer.weight = torch.nn.Parameter(packed, requires_grad=False)
        layer.cpu_linear = lambda x, weight, bias: few_rows.multiply(x, weight, bias, columns)
    else:  # the embedding, of which the head is a second copy
        layer.cpu_linear = lambda x, _, bias: few_rows.multiply(x, packed, bias, columns)
