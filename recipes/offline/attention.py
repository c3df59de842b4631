"""Hybrid attention of a draft tree against one masked attention over everything; table, plot, JSON.

    python -m recipes.offline.attention

One layer, one request: ``W`` tree rows over ``S`` verified keys and their own ``W``. Compared are

- hybrid: ``proposers.attention.hybrid_attention``, and each of its parts alone;
- eager, masked: as transformers' eager attention, heads repeated, with a ``[W, S + W]`` mask;
- SDPA, masked: PyTorch's own with that mask, grouped heads folded into rows as hybrid does.

The masks are made beforehand, which favours the two that need them. All read the same cache. Every
output is compared with eager attention in float64. Times are medians over rounds in which all take
turns, so that a noisy machine disturbs all alike; ``ratio`` is the median of a round's time over
hybrid's in that round. On a GPU times are the device's (CUDA events) with the L2 cache flushed
before each call, on a CPU the clock's with caches as the calls leave them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.growth import check_shape
from proposers.tree import ancestor_mask, from_parents

from .common import ROOT, Help, save, show
from .timing import Call, copy_speed, keep_memory, peak, timed

SIZES: dict[str, dict[str, Any]] = {
    "cuda": {
        "contexts": [4096, 8192, 16384, 32768], "heads": 32, "kv_heads": 8, "head_dim": 128,
        "dtype": "bfloat16", "repeats": 100,
    },
    "cpu": {
        "contexts": [512, 1024, 2048, 4096], "heads": 9, "kv_heads": 3, "head_dim": 64,
        "dtype": "float32", "repeats": 30,
    },
}  # fmt: skip
"""Defaults: Llama-3-8B's heads on a GPU, SmolLM2-135M's on a CPU."""
ALIGNMENT = 8
"""CUDA kernels read a mask in groups of this many entries, or PyTorch copies it in each call."""
NO_GPU = "not run on a GPU: these are CPU times at CPU sizes and say nothing about a GPU"
WHOLE = ("hybrid", "eager, masked", "SDPA, masked")
COLUMNS = ("", "ms", "25%", "75%", "ratio", "KV GB/s", "of copy", "MiB", "error")


@dataclass(frozen=True)
class Problem:
    """One layer's attention; ``keys`` and ``values`` ``[1, kv_heads, S + W, d]`` end in the tree's.

    Attributes:
        query: ``[1, heads, W, d]``.
        mask: ``[1, W, W]`` bool, which row of the tree sees which.
    """

    query: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor

    @property
    def context(self) -> int:
        return self.keys.shape[2] - self.mask.shape[1]

    @property
    def groups(self) -> int:
        return self.query.shape[1] // self.keys.shape[1]

    @property
    def kv_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys and values of the prefix, then of the tree."""
        split = self.context
        prefix = self.keys[:, :, :split], self.values[:, :, :split]
        return *prefix, self.keys[:, :, split:], self.values[:, :, split:]

    def full_bias(self, dtype: torch.dtype) -> Tensor:
        """``[W, S + W]``: 0 where a row sees the key, else -inf."""
        bias = torch.zeros_like(self.mask[0], dtype=dtype).masked_fill_(~self.mask[0], -torch.inf)
        return F.pad(bias, (self.context, 0))


def make_problem(args: argparse.Namespace, context: int) -> Problem:
    """Normal numbers; each level's nodes are spread evenly over the level above."""
    parents, above = [], [-1]
    for size in check_shape(args.tree_shape):
        parents += [above[i * len(above) // size] for i in range(size)]
        above = list(range(len(parents) - size, len(parents)))
    mask = ancestor_mask(from_parents([[0] * len(parents)], [parents])).to(args.device)
    rows, dtype = mask.shape[1], getattr(torch, args.dtype)

    def normal(heads: int, count: int) -> Tensor:
        return torch.randn(1, heads, count, args.head_dim, device=args.device, dtype=dtype)

    keys, values = (normal(args.kv_heads, context + rows) for _ in range(2))
    return Problem(normal(args.heads, rows), keys, values, mask)


def calls(problem: Problem) -> dict[str, Call]:
    """What is timed, by name: the three ways, then the parts of hybrid."""
    from proposers.attention import hybrid_attention, merge, prefix_attention, tree_attention
    from proposers.attention.tree_triton import available, tree_attention_triton

    query, mask, scale = problem.query, problem.mask, problem.query.shape[-1] ** -0.5
    prefix_keys, prefix_values, tree_keys, tree_values = problem.parts()
    tree = (query, tree_keys, tree_values, mask, scale)
    prefix = partial(prefix_attention, query, prefix_keys, prefix_values, None, scale)
    bias = problem.full_bias(query.dtype)
    folded = F.pad(bias.repeat(problem.groups, 1), (0, -bias.shape[1] % ALIGNMENT))
    made: dict[str, Call] = {
        "hybrid": partial(hybrid_attention, query, *problem.parts(), mask),
        "eager, masked": partial(eager, query, problem.keys, problem.values, bias),
        "SDPA, masked": partial(sdpa, problem, folded[:, : bias.shape[1]]),
        "  prefix": prefix,
        "  tree, PyTorch": partial(tree_attention, *tree),
        "  merge, PyTorch": partial(merge, prefix(), tree_attention(*tree)),
    }
    if query.is_cuda and available():
        made["  tree, Triton"] = partial(tree_attention_triton, *tree)
        made["  tree + merge, Triton"] = partial(tree_attention_triton, *tree, prefix())
    return made


def eager(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """As transformers computes it: KV heads repeated, softmax in float32 (float64 of float64)."""
    wide = torch.promote_types(query.dtype, torch.float32)
    groups = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
    return scores.softmax(-1, dtype=wide).to(query.dtype) @ values


def sdpa(problem: Problem, bias: Tensor) -> Tensor:
    """Folded, since no fused CUDA kernel of PyTorch takes grouped heads and a mask at once."""
    query, keys = problem.query, problem.keys
    rows = query.unflatten(1, (keys.shape[1], -1)).flatten(2, 3)
    out = F.scaled_dot_product_attention(rows, keys, problem.values, attn_mask=bias)
    return out.unflatten(2, (problem.groups, -1)).flatten(1, 2)


@torch.inference_mode()
def measure(args: argparse.Namespace, context: int, copy: float) -> list[dict[str, Any]]:
    """One context length: a record for each thing timed."""
    problem = make_problem(args, context)
    what = calls(problem)
    wide = problem.query.double(), problem.keys.double(), problem.values.double()
    exact = eager(*wide, problem.full_bias(torch.float64))
    errors = {name: float((what[name]() - exact).abs().max()) for name in WHOLE}
    peaks = {name: peak(call, args.device) for name, call in what.items()}
    times = timed(what, args.repeats, args.device)
    records = []
    for name, each in times.items():
        low, middle, high = statistics.quantiles(each, n=4)
        ratios = [a / b for a, b in zip(each, times["hybrid"], strict=True)]
        speed = problem.kv_bytes / 1e6 / middle if name in WHOLE or "prefix" in name else None
        records.append(
            {"context": context, "name": name.strip(), "ms": middle, "quartiles": [low, high]}
            | {"ratio": statistics.median(ratios), "gb_s": speed, "of_copy": speed and speed / copy}
            | {"peak_mib": peaks[name], "max_error": errors.get(name), "part": name not in WHOLE}
        )
    return records


def cells(record: dict[str, Any]) -> list[str]:
    """A table's row."""

    def text(key: str, form: str) -> str:
        return "" if record[key] is None else format(record[key], form)

    name = f"  {record['name']}" if record["part"] else record["name"]
    numbers = [f"{ms:.3g}" for ms in (record["ms"], *record["quartiles"])] + [text("ratio", ".2f")]
    rates = [text("gb_s", ".1f"), text("of_copy", ".0%"), text("peak_mib", ".1f")]
    return [name, *numbers, *rates, text("max_error", ".0e")]


def plot(records: list[dict[str, Any]], copy: float, title: str, path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for name in WHOLE:
        mine = [r for r in records if r["name"] == name]
        contexts = [r["context"] for r in mine]
        left.plot(contexts, [r["ms"] for r in mine], marker="o", label=name)
        low, high = zip(*(r["quartiles"] for r in mine), strict=True)
        left.fill_between(contexts, low, high, alpha=0.2)
        right.plot(contexts, [r["gb_s"] for r in mine], marker="o", label=name)
    right.axhline(copy, color="grey", linestyle="--", label="a copy of memory")
    for axes, label in ((left, "ms (band: quartiles)"), (right, "GB/s of keys and values")):
        axes.set(xlabel="verified tokens", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(contexts, [str(context) for context in contexts], minor=False)
        axes.set_xticks([], minor=True)
        axes.legend()
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=Help)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    made.add_argument("--device", choices=list(SIZES), default=device, help=" ")
    for name, kind in (
        ("contexts", json.loads), ("heads", int), ("kv_heads", int), ("head_dim", int),
        ("dtype", str), ("repeats", int),
    ):  # fmt: skip
        told = f"on a GPU {SIZES['cuda'][name]}, on a CPU {SIZES['cpu'][name]}"
        flag = f"--{name.replace('_', '-')}"
        made.add_argument(flag, type=kind, default=argparse.SUPPRESS, help=f"(default: {told})")
    made.add_argument("--tree-shape", type=json.loads, default=[4, 16, 16, 16, 16], help=" ")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    made.add_argument("--output-dir", type=Path, default=ROOT / "results" / "attention", help=" ")
    given = made.parse_args()
    return argparse.Namespace(**SIZES[given.device] | vars(given))


def main() -> None:
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_memory()
    copy, records = copy_speed(args.device), []
    for done, context in enumerate(args.contexts):  # a progress bar's thread would be timed too
        print(f"[{done + 1}/{len(args.contexts)}] {context} verified tokens", file=sys.stderr)
        records += measure(args, context, copy)
    on_gpu = args.device == "cuda"
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, threads: {args.threads}; {NO_GPU}"
    rows = 1 + sum(args.tree_shape)
    sizes = f"{rows} rows, {args.heads} heads over {args.kv_heads}, d {args.head_dim}, {args.dtype}"
    for context in args.contexts:
        table = [cells(record) for record in records if record["context"] == context]
        show(f"{context} verified tokens; {sizes}; {where}", COLUMNS, table)
    print(f"bandwidth of a copy: {copy:.1f} GB/s" + ("" if on_gpu else f"\n{NO_GPU}"))
    settings = {key: value for key, value in vars(args).items() if key != "output_dir"}
    result = {"gpu": on_gpu, "settings": settings, "copy_gb_s": copy, "records": records}
    save(args.output_dir, "attention", result)
    plot(records, copy, f"{sizes}; {where}", args.output_dir / "attention.png")


if __name__ == "__main__":
    main()
