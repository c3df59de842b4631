"""Simulated acceptance length of a draft on stored answers: no target forward is needed.

    python -m proposers.train.simulate --draft DIR --target DIR --features DIR

The served proposer itself grows each tree, at the true context of each step, and the walk follows
the target's own greedy answer: as greedy serving would, up to rounding of the target's logits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..acceptance import greedy_walk
from ..base import DraftContext
from ..glide.proposer import GlideProposer
from .data import FeatureFolder, Sequence
from .step import attend
from .target import TargetWeights

SHAPES = ([1, 1, 1, 1], [4, 4, 2, 1], [4, 6, 4, 2], [4, 8, 2, 1], [4, 8, 8, 4], [4, 16, 16, 16, 16])


@dataclass
class CachedKV:
    """The target's last-layer cache, `[B, K, kv_heads, d]`, of which `known[b]` tokens exist."""

    keys: Tensor
    values: Tensor
    known: Tensor

    def attend(self, query: Tensor) -> Tensor:
        seen = torch.arange(self.keys.shape[1]) < self.known[:, None]
        mask = seen[:, None].expand(-1, query.shape[1], -1)
        return attend(query, self.keys, self.values, mask)


class Simulation:
    """Several answers at once, each walked from its first token to its last."""

    def __init__(self, proposer: GlideProposer, data: FeatureFolder, items: list[Sequence]) -> None:
        self.proposer = proposer
        self.batch = data.collate(items)
        self.length = torch.tensor([s.end - s.start for s in items])
        self.root = torch.tensor([s.prompt_len for s in items])
        self.steps = torch.zeros(len(items), dtype=torch.long)
        self.accepted = torch.zeros(len(items), dtype=torch.long)

    @torch.inference_mode()
    def run(self) -> tuple[Tensor, Tensor]:
        """Verify steps and accepted tokens of each answer, both `[B]`."""
        while bool((active := self.root + 1 < self.length).any()):
            self._step(active.nonzero()[:, 0])
        return self.steps, self.accepted

    def _step(self, rows: Tensor) -> None:
        root = self.root[rows]
        tokens = self.batch.tokens[rows].long()
        context = DraftContext(
            rows.tolist(),
            [t[: r + 1].numpy() for t, r in zip(tokens, root, strict=True)],
            self.batch.hidden[rows, root - 1],
            CachedKV(self.batch.keys[rows], self.batch.values[rows], root),
            torch.full((len(rows),), self.proposer.max_nodes),
        )
        trees = self.proposer.propose(context)
        depths = torch.cat([torch.zeros(len(rows), 1, dtype=torch.long), trees.depths], dim=1)
        at = root[:, None] + depths + 1
        truth = tokens.gather(1, at.clamp_max(tokens.shape[1] - 1))
        truth[at >= self.length[rows, None]] = -1
        accepted = greedy_walk(trees, truth).accepted
        accepted = accepted.minimum(self.length[rows] - root - 1)
        self.accepted[rows] += accepted
        self.steps[rows] += 1
        self.root[rows] += accepted + 1


def acceptance_length(
    draft: Path,
    target: TargetWeights,
    data: FeatureFolder,
    items: list[Sequence],
    shape: Items[int],
) -> float:
    """Pooled AL = 1 + accepted / steps over all answers."""
    proposer = GlideProposer(draft, {"tree_shape": list(shape)})
    proposer.bind(target.model())
    ordered = sorted(items, key=lambda s: s.end - s.start)
    steps = accepted = 0
    for i in range(0, len(ordered), 16):
        simulation = Simulation(proposer, data, ordered[i : i + 16])
        counts = simulation.run()
        steps, accepted = steps + int(counts[0].sum()), accepted + int(counts[1].sum())
        for name in range(16):
            proposer.forget(name)
    return 1 + accepted / max(steps, 1)


def main(argv: list[str] | None = None) -> None:
    """Print the simulated AL of several tree shapes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draft", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="folder of feature shards")
    parser.add_argument("--sequences", type=int, default=48, help="at most this many answers")
    parser.add_argument("--all", action="store_true", help="the folder was never trained on")
    parser.add_argument(
        "--shapes", type=json.loads, default=SHAPES, help="JSON list of tree shapes"
    )
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    data = FeatureFolder(args.features, 0, args.sequences)
    weights = TargetWeights(args.target)
    items = data.held_out
    if args.all:
        items = sorted([s for s in data.kept + data.train if s.greedy], key=lambda s: s.start)
        items = items[: args.sequences]
    for shape in args.shapes:
        value = acceptance_length(args.draft, weights, data, items, shape)
        print(f"{json.dumps(shape)} ({sum(shape)} nodes): AL {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
