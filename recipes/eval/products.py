"""What the target's matrix products cost by rows: by vLLM's own choice, and by our kernel.

    python -m recipes.eval.products --model DIR [--rows 1 2 4 8 16 32 64 128 256] [--dtype float32]

All products of a step, on random weights of the model's sizes, each layer with its own so that they
come from memory as they do when serving. Both are taken in turns; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from longspec_plugin.native import few_rows
from recipes.offline.timing import Call, timed

Product = Callable[[Tensor], Tensor]


def heads(config: dict[str, Any]) -> tuple[int, int, int]:
    """Query heads, KV heads and the size of a head."""
    count = config["num_attention_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // count
    return count, config.get("num_key_value_heads", count), dim


def sizes(config: dict[str, Any]) -> tuple[list[tuple[int, int]], tuple[int, int], int]:
    """``(N, K)`` of a layer's products and of the head, and how many layers there are."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    count, kv_heads, dim = heads(config)
    both = count + 2 * kv_heads
    layer = [(both * dim, hidden), (hidden, count * dim), (2 * wide, hidden), (hidden, wide)]
    return layer, (config["vocab_size"], hidden), config["num_hidden_layers"]


def theirs(weight: Tensor) -> Product:
    """As vLLM does it."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    layer: Any = torch.nn.Module()
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    return lambda x: layer.cpu_linear(x, layer.weight, None)


def ours(weight: Tensor) -> Product:
    packed, columns = few_rows.pack(weight), len(weight)
    return lambda x: few_rows.multiply(x, packed, None, columns)


def step(products: Sequence[tuple[Product, int]], rows: int, dtype: torch.dtype) -> Call:
    """All products, each on rows of its width."""
    given = {width: torch.randn(rows, width, dtype=dtype) for _, width in products}
    return lambda: [product(given[width]) for product, width in products]


def run(args: argparse.Namespace) -> Table:
    torch.set_num_threads(args.threads)
    layer, head, count = sizes(json.loads((args.model / "config.json").read_text("utf-8")))
    dtype = getattr(torch, args.dtype)
    weights = [0.02 * torch.randn(shape, dtype=dtype) for shape in [*layer * count, head]]
    found = {made: [(made(w), w.shape[1]) for w in weights] for made in (theirs, ours)}
    table = Table("rows", "vLLM's, ms", "ours, ms", "ours / vLLM's", title="products of a step")
    for rows in track(args.rows, "products", console=Console(stderr=True)):
        calls = {made.__name__: step(products, rows, dtype) for made, products in found.items()}
        times = timed(calls, args.repeats, "cpu")
        stock, mine = (statistics.median(each) for each in times.values())
        table.add_row(str(rows), f"{stock:.2f}", f"{mine:.2f}", f"{mine / stock:.2f}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        prog="python -m recipes.eval.products",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--model", type=Path, required=True, help="folder of the target; its config.json is read")
    add("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 14, 16, 32, 64, 128, 256])
    add("--repeats", type=int, default=7, help="of each (7)")
    add("--threads", type=int, default=1, help="CPU threads (1)")
    add("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="(bfloat16)")
    args = options.parse_args(argv)
    if not few_rows.available():
        options.error("the kernel needs AVX-512 BF16 and no AMX, or AVX2 alone, and a C++ compiler")
    if not few_rows.takes(torch.zeros(2, 8, dtype=getattr(torch, args.dtype))):
        options.error(f"--dtype {args.dtype}: allowed is bfloat16, float32 is for AVX2 alone")
    Console().print(run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
