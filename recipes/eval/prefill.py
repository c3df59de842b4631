"""What attention of a prompt's rows costs: by vLLM's CPU kernel, and by ours for trees.

    python -m recipes.eval.prefill --model DIR [--dtype float32] [--chunks 300:0 2048:0 2048:2048]

One layer of the model's shape, rows of one request behind so many tokens of it, over vLLM's own KV
cache. Both are taken in turns; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from longspec_plugin.native import library
from longspec_plugin.tree_rows import step_rows
from longspec_plugin.vllm.v1 import cache as ours
from recipes.offline.timing import Call, timed

from .products import heads

BLOCK = 128  # tokens, vLLM's own for CPUs


class Chunk:
    """``rows`` of one request behind ``before`` tokens, random."""

    def __init__(self, heads: int, kv_heads: int, dim: int, rows: int, before: int, dtype: Any):
        blocks = -(-(before + rows) // BLOCK)
        self.cache = torch.randn(blocks, kv_heads, BLOCK, 2 * dim, dtype=dtype)
        self.query = torch.randn(rows, heads, dim, dtype=dtype)
        self.table = torch.arange(blocks, dtype=torch.int32)[None]
        self.rows, self.before, self.scale = rows, before, dim**-0.5

    def stock(self) -> Tensor:
        """As vLLM does it."""
        from vllm import _custom_ops as ops

        _, heads, dim = self.query.shape
        halves = self.cache.view(len(self.cache), -1, 2 * BLOCK, dim).chunk(2, dim=2)
        ends = torch.tensor([0, self.rows], dtype=torch.int32)
        total = torch.tensor([self.before + self.rows], dtype=torch.int32)
        plan = ops.cpu_attn_get_scheduler_metadata(
            num_reqs=1,
            num_heads=heads,
            num_kv_heads=self.cache.shape[1],
            head_dim=dim,
            seq_lens=total,
            dtype=self.query.dtype,
            query_start_loc=ends,
            causal=True,
            sliding_window_size=-1,
            isa=ours.ISA,
            enable_kv_split=False,
        )
        out = torch.empty_like(self.query)
        ops.cpu_attention_with_kv_cache(
            query=self.query,
            key_cache=halves[0],
            value_cache=halves[1],
            output=out,
            query_start_loc=ends,
            seq_lens=total,
            scale=self.scale,
            causal=True,
            alibi_slopes=None,
            sliding_window=-1,
            block_table=self.table,
            softcap=0.0,
            scheduler_metadata=plan,
            s_aux=None,
        )
        return out

    def ours(self) -> Tensor:
        lengths, before = torch.tensor([self.rows]), torch.tensor([self.before])
        none = torch.zeros(1, dtype=torch.bool)
        rows = step_rows(lengths, before, self.table, none, torch.ones(1, 1, 1))
        out = torch.empty_like(self.query)
        ours.tree_attention(self.query, self.cache, out, rows, self.scale)
        return out


def run(args: argparse.Namespace) -> Table:
    torch.set_num_threads(args.threads)
    shape = heads(json.loads((args.model / "config.json").read_text("utf-8")))
    dtype = getattr(torch, args.dtype)
    table = Table("rows", "behind", "vLLM's, ms", "ours, ms", "ours / vLLM's", "apart by at most")
    for text in track(args.chunks, "chunks", console=Console(stderr=True)):
        rows, before = (int(part) for part in text.split(":"))
        chunk = Chunk(*shape, rows, before, dtype)
        calls: dict[str, Call] = {"stock": chunk.stock, "ours": chunk.ours}
        apart = (chunk.stock().float() - chunk.ours().float()).abs().max().item()
        times = timed(calls, args.repeats, "cpu")
        stock, mine = (statistics.median(each) for each in times.values())
        cells = (str(rows), str(before), f"{stock:.2f}", f"{mine:.2f}", f"{mine / stock:.2f}")
        table.add_row(*cells, f"{apart:.1e}")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        prog="python -m recipes.eval.prefill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("--model", type=Path, required=True, help="folder of the target; its config.json is read")
    chunks = ["1:300", "300:0", "2048:0", "2048:2048", "1200:4096"]
    add("--chunks", nargs="+", default=chunks, help=f"ROWS:BEFORE ({' '.join(chunks)})")
    add("--repeats", type=int, default=7, help="of each (7)")
    add("--threads", type=int, default=1, help="CPU threads (1)")
    add("--dtype", choices=("bfloat16", "float32"), default="float32", help="(float32)")
    args = options.parse_args(argv)
    if library() is None:
        options.error("the kernel needs a C++ compiler: g++ or clang++")
    Console().print(run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
