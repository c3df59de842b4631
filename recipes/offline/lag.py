"""Acceptance by depth of several drafts: what training with a noisy lag buys.

    python -m recipes.offline.lag --drafts noisy=DIR,first=DIR

At depth d of a tree the draft sees the target's keys at lag d + 1. A draft that was trained with
lag 1 alone meets what it does not know from the second level on. Two such drafts come from

    python -m proposers.train --recipe recipes/smollm2-135m-instruct/recipe.yaml --minutes 26 ...
    python -m proposers.train --recipe ... --minutes 26 --lag-weights "[1.0, 0, 0, 0, 0]" ...
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from proposers import GlideModel

from .common import (
    batches,
    chat_prompts,
    default_target,
    load,
    padded,
    parser,
    progress,
    save,
    show,
)

EOS = 2


def named(text: str) -> dict[str, Path]:
    """``name=folder,name=folder``."""
    pairs = [part.partition("=") for part in text.split(",")]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise argparse.ArgumentTypeError(f"{bad[0]!r}: expected NAME=FOLDER[,NAME=FOLDER]")
    return {name: Path(folder) for name, _, folder in pairs}


def measure(
    model: GlideModel, groups: list[list[list[int]]], shape: list[int], tokens: int, label: str
) -> dict[str, Any]:
    """Pooled counts over all prompts."""
    proposer = model.tree_proposer(shape)
    at, steps = [0] * len(shape), 0
    with progress() as bar:
        for group in bar.track(groups, description=f"{label} {shape}"):
            decoded = model.decode(proposer, *padded(group), tokens, EOS)
            at = [a + b for a, b in zip(at, decoded.accepted_at, strict=True)]
            steps += int(decoded.steps.sum())
    reached = [steps, *at[:-1]]
    conditional = [n / max(before, 1) for n, before in zip(at, reached, strict=True)]
    al = 1 + sum(at) / max(steps, 1)
    return {"draft": label, "shape": shape, "al": al, "steps": steps, "conditional": conditional}


def main() -> int:
    options = parser(__doc__, "lag")
    options.add_argument("--drafts", type=named, help="NAME=FOLDER,...; none: --draft alone")
    options.add_argument("--prompts", type=int, default=66, help="at most 264")
    options.add_argument("--tokens", type=int, default=64, help="new tokens of each answer")
    options.add_argument("--batch", type=int, default=8, help="prompts decoded together")
    shapes = [[1] * 5, [4] * 5]
    options.add_argument("--shapes", type=json.loads, default=shapes, help="JSON list of shapes")
    args = options.parse_args()
    prompts = chat_prompts(args.model or default_target(), args.prompts)
    groups = batches(sorted(prompts, key=len), args.batch)
    results = []
    for name, folder in (args.drafts or {args.draft.name: args.draft}).items():
        model = load(args, torch.float32, folder)
        results += [measure(model, groups, s, args.tokens, name) for s in args.shapes]
    depths = max(len(result["shape"]) for result in results)
    rows = [
        (r["draft"], r["shape"], r["al"], *(f"{x:.3f}" for x in r["conditional"])) for r in results
    ]
    title = f"acceptance by depth, {len(prompts)} prompts x {args.tokens} tokens, greedy"
    show(title, ("draft", "tree", "AL", *(f"depth {d + 1}" for d in range(depths))), rows)
    save(args.output_dir, "lag", {"title": title, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
