"""Which tree pays on this machine: tokens a second and AL of several shapes beside vanilla.

    python -m recipes.offline.shapes

A row of the target's forward is nearly free on a large GPU and costs real time on a CPU. ``served``
is the proposer that the draft's config.json names, with its pruning. All take turns, prompt by
prompt, so that drift hits all alike; the speedup is paired by prompt, with a bootstrap interval.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

from proposers import GlideModel
from proposers.base import Proposer

from .common import chat_prompts, default_target, load, padded, parser, progress, save, show
from .timing import keep_memory

EOS = 2
SHAPES = [[1], [1, 1, 1, 1], [2, 1], [2, 2, 1], [4, 4, 2, 1]]


def measure(
    model: GlideModel, ways: dict[str, Proposer | None], prompts: list[list[int]], tokens: int
) -> dict[str, list[list[float]]]:
    """For each way and prompt: seconds, tokens, accepted, steps."""
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for way in ways.values():
        model.decode(way, *padded(prompts[:1]), 8, EOS)  # warm-up
    with progress() as bar:
        for prompt in bar.track(prompts, description="prompts"):
            for name, way in ways.items():
                d = model.decode(way, *padded([prompt]), tokens, EOS)
                counts = (int(d.lengths), int(d.accepted), int(d.steps))
                found[name].append([d.seconds, *counts])
    return found


def summary(name: str, found: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Pooled rates, and the paired speedup: geometric mean over prompts, 95% interval."""
    mine, plain = np.array(found[name]), np.array(found["vanilla"])
    ratio = np.log((plain[:, 0] / plain[:, 1]) / (mine[:, 0] / mine[:, 1]))
    interval = bootstrap((ratio,), np.mean, rng=0).confidence_interval
    low, mean, high = (float(np.exp(x)) for x in (interval.low, ratio.mean(), interval.high))
    rate, al = mine[:, 1].sum() / mine[:, 0].sum(), 1 + mine[:, 2].sum() / max(mine[:, 3].sum(), 1)
    return {"way": name, "tok_s": float(rate), "al": float(al), "speedup": [low, mean, high]}


def main() -> int:
    options = parser(__doc__, "shapes")
    options.add_argument("--shapes", type=json.loads, default=SHAPES, help="JSON list of shapes")
    options.add_argument("--prompts", type=int, default=66, help="prompts to choose from")
    options.add_argument("--every", type=int, default=3, help="take every n-th of them")
    options.add_argument("--tokens", type=int, default=96, help="new tokens of each answer")
    options.add_argument("--dtype", default="bfloat16", help=" ")
    args = options.parse_args()
    keep_memory()
    model = load(args, getattr(torch, args.dtype))
    target = args.model or default_target()
    prompts = chat_prompts(target, args.prompts)[:: args.every]
    ways: dict[str, Proposer | None] = {"vanilla": None, "served": model.served_proposer()}
    ways |= {str(shape): model.tree_proposer(shape) for shape in args.shapes}
    found = measure(model, ways, prompts, args.tokens)
    results = [summary(name, found) for name in ways]
    rows = [
        (r["way"], r["tok_s"], r["al"], "{1:.2f} [{0:.2f}, {2:.2f}]".format(*r["speedup"]))
        for r in results
    ]
    title = f"{len(prompts)} prompts x {args.tokens} tokens, {args.dtype}, {args.device}, greedy"
    show(title, ("tree", "tok/s", "AL", "speedup"), rows)
    save(args.output_dir, "shapes", {"title": title, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
