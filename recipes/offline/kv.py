"""The accepted path's KV: move it in all layers, or feed the accepted tokens again?

    python -m recipes.offline.kv

Moving costs one gather and copy a step. Feeding again (what the public reference does) adds the
accepted tokens as rows to the next target forward. Both are timed on the target's own shapes.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from proposers.growth import check_shape
from proposers.offline.models import GlideModel
from proposers.tree import DraftTrees, from_parents

from .common import load, parser, progress, save, show
from .timing import keep_memory, wall


def star(batch: int, nodes: int, device: torch.device) -> DraftTrees:
    """A tree of ``nodes`` children of the root: what a forward costs depends on their number."""
    return from_parents([[0] * nodes] * batch, [[-1] * nodes] * batch).to(device)


@torch.inference_mode()
def measure(model: GlideModel, context: int, nodes: int, path: int, repeats: int) -> dict[str, Any]:
    """One context length; ``path`` rows are kept, the root's among them."""
    target, device = model.target, model.device
    cache = target.new_cache(1, context + nodes + 16)
    target.prefill(torch.zeros(1, context, dtype=torch.long, device=device), [context], cache)
    root = torch.zeros(1, dtype=torch.long, device=device)

    def verify(trees: DraftTrees) -> None:
        cache.held = []
        target.verify(root, trees, cache, None)

    def forward(rows: int) -> float:
        trees = star(1, rows, device)
        return wall(lambda: verify(trees), repeats, device.type)

    plain, again = forward(nodes), forward(nodes + path - 1)
    verify(star(1, nodes, device))
    held, scattered = cache.held, [[2 * i for i in range(path)]]

    def move() -> None:
        cache.lengths, cache.held = [context], held
        cache.accept(scattered)

    moved = wall(move, repeats * 5, device.type)
    return {"context": context, "forward": plain, "move": moved, "feed_again": again - plain}


def main() -> int:
    options = parser(__doc__, "kv")
    options.add_argument("--contexts", type=json.loads, default=[128, 1024, 4096], help=" ")
    options.add_argument("--tree-shape", type=json.loads, default=[4, 4, 2, 1], help="JSON list")
    options.add_argument("--path", type=int, default=3, help="rows kept a step, the root's too")
    options.add_argument("--dtype", default="bfloat16", help=" ")
    options.add_argument("--repeats", type=int, default=15, help="timed forwards of each kind")
    args = options.parse_args()
    nodes = sum(check_shape(args.tree_shape))
    keep_memory()
    model = load(args, getattr(torch, args.dtype))
    results = []
    with progress() as bar:
        for context in bar.track(args.contexts, description="contexts"):
            results.append(measure(model, context, nodes, args.path, args.repeats))
    rows = [tuple(f"{r[k]:.3f}" if k != "context" else r[k] for k in r) for r in results]
    title = f"{nodes} nodes, {args.path} rows kept, {args.dtype}, {args.device}, ms"
    show(title, ("context", "forward", "move", "feed again: more forward"), rows)
    save(args.output_dir, "kv", {"title": title, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
