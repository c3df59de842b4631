"""One engine of the piece ``cycle``: it starts, waits for its turn, and measures pair by pair.

    python -m recipes.gpu.arm FOLDER vanilla|longspec      # as recipes.gpu.cycle starts it

Time is that of a long answer less that of a short one, by steps: prefill drops out, and prompts are
found in the prefix cache.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import engine
from .models import Pair, cache_gib, card_gib, fitting
from .plan import Plan, read, write

PARTS = ("forward_ms", "draft_ms", "accept_ms", "move_ms")
"""What the trace tells of a cycle, by device events, beside ``cycle_ms``."""
WARM, FEW = 4, 2
"""New tokens of the run that fills the caches, and of a short one."""
UNSTEADY = 4
"""Traced cycles of a run that are left out at its start: caches are filled there."""


def prompts(plan: Plan, context: int, batch: int) -> list[list[int]]:
    """Random token ids; a longer context of the same request begins with the shorter one."""
    tokens = range(3, plan.sizes["vocab_size"])
    return [random.Random(i).choices(tokens, k=context) for i in range(batch)]


def measure(llm: Any, plan: Plan, pair: Pair, trace: Path | None) -> dict[str, Any]:
    """One pair: milliseconds a step, the median of the repeats, and where they went."""
    context, batch = pair
    given = prompts(plan, context, batch)

    def run(tokens: int) -> tuple[float, float]:
        before, began = engine.counters(llm)[0], time.perf_counter()
        engine.generate(llm, given, tokens)
        seconds = time.perf_counter() - began
        drafted = engine.counters(llm)[0] - before
        return 1e3 * seconds, drafted / batch or tokens - 1

    run(WARM)
    found, cycles = [], []
    for _ in range(plan.repeats):
        short, few = run(FEW)
        skipped = trace.stat().st_size if trace and trace.exists() else 0
        long, many = run(FEW + plan.tokens)
        cycles += traced(trace, skipped, batch)
        found.append(((long - short) / (many - few), many - few))
    ms = [each for each, _ in found]
    row = {"context": context, "batch": batch, "ms": statistics.median(ms), "runs": ms}
    return row | {
        "steps": [count for _, count in found],
        "parts": parts(cycles),
        "traced": len(cycles),
    }


def traced(trace: Path | None, skipped: int, batch: int) -> list[dict[str, float]]:
    """Cycles of all ``batch`` requests that a trace holds behind ``skipped`` bytes."""
    if trace is None or not trace.exists():
        return []
    with trace.open() as file:
        file.seek(skipped)
        lines = [line for line in file if line.endswith("\n")]
    cycles = [json.loads(line) for line in lines]
    whole = [cycle for cycle in cycles if cycle.get("requests", batch) == batch]
    return whole[min(UNSTEADY, len(whole) // 4) :]


def parts(cycles: Iterable[dict[str, float]]) -> dict[str, float]:
    """Medians of what the trace names; a part that it does not name is not there."""
    found: dict[str, list[float]] = {}
    for cycle in cycles:
        for name in (*PARTS, "cycle_ms", "rows", "accepted"):
            if cycle.get(name) is not None:
                found.setdefault(name, []).append(cycle[name])
    return {name: statistics.median(values) for name, values in found.items()}


def started(plan: Plan, own: Path, arm: str, pairs: list[Pair]) -> Any:
    """The arm's engine, with graphs of exactly the rows that are measured."""
    rows, config = 1, None
    if arm == "longspec":
        rows = 1 + plan.nodes
        config = {
            "method": "longspec",
            "model": str(own / "draft"),
            "proposer": "glide",
            "tree_shape": list(plan.tree),
            "min_probability": 0.0,  # a random draft is sure of nothing
        }
    batches = sorted({batch for _, batch in pairs})
    return engine.start(
        plan,
        own / "target",
        max(cache_gib(plan, pair) for pair in pairs),
        max(batches),
        plan.longest,
        load_format="dummy",
        skip_tokenizer_init=True,
        max_num_batched_tokens=8192,
        enable_prefix_caching=True,
        speculative_config=config,
        compilation_config={"cudagraph_capture_sizes": [batch * rows for batch in batches]},
    )


def main(folder: Path, arm: str) -> Any:
    """Measure what is left of the pairs until the time is up that standard input grants."""
    plan, own = Plan.load(folder), folder / "cycle"
    pairs = fitting(plan, card_gib(plan))
    llm = started(plan, own, arm, pairs)
    told = engine.settings(llm) | {"attention": engine.backend(own / f"{arm}.log")}
    trace = own / "trace.jsonl" if arm == "longspec" and plan.trace else None
    rows = kept(own, arm)
    (own / f"{arm}.ready").touch()
    deadline = float(sys.stdin.readline()) + time.monotonic()
    for pair in pairs:
        if pair not in map(pair_of, rows) and time.monotonic() < deadline:
            rows.append(attempt(llm, plan, pair, trace))
            write(own / f"{arm}.json", {"settings": told, "rows": rows})
            print(f"{arm}, {pair[0]} tokens x {pair[1]}: {rows[-1]}", flush=True)
    return llm


def kept(own: Path, arm: str) -> list[dict[str, Any]]:
    """Rows that an earlier run measured."""
    saved = read(own / f"{arm}.json") or {"rows": []}
    return [row for row in saved["rows"] if "ms" in row]


def pair_of(row: dict[str, Any]) -> Pair:
    return row["context"], row["batch"]


def attempt(llm: Any, plan: Plan, pair: Pair, trace: Path | None) -> dict[str, Any]:
    """A pair's row; an error is one too, and the next pair is tried."""
    try:
        return measure(llm, plan, pair, trace)
    except Exception as error:
        told = " ".join(repr(error).split())[:300]
        return {"context": pair[0], "batch": pair[1], "error": told}


if __name__ == "__main__":
    engine.ended(lambda: main(Path(sys.argv[1]), sys.argv[2]))
