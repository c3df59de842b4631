"""What is counted while one answer is walked, and the probabilities against what came true.

A predicted probability falls into one of :data:`BINS` equal bins (deciles of probability). Two
predictions are kept apart: a *node's*, given that its parent was accepted, and a *path's*, from the
root down, which tree building ranks nodes by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

BINS = 10
Bins = list[list[float]]
"""Per bin: how many predictions, the sum of their probabilities, how many came true."""


@dataclass(frozen=True)
class Tally:
    """Counts over the verify steps of one answer, or of many.

    Attributes:
        steps, accepted: verify steps, and drafted tokens accepted in them.
        nodes: drafted nodes, all steps together.
        undrafted: steps without a draft, all of its nodes being pruned; engines do not count them
            among verify steps.
        reached: of each depth, how many steps accepted a node there.
        node_bins: predictions for nodes whose parent was accepted.
        path_bins: predictions for all nodes.
    """

    steps: int
    accepted: int
    nodes: int
    undrafted: int
    reached: list[int]
    node_bins: Bins
    path_bins: Bins

    @property
    def acceptance_length(self) -> float:
        """``1 + accepted / steps``, as engines count it."""
        return 1 + self.accepted / max(self.steps, 1)

    @property
    def effective_length(self) -> float:
        """Tokens per step, those without a draft included."""
        return 1 + self.accepted / max(self.steps + self.undrafted, 1)

    @classmethod
    def sum(cls, tallies: list[Tally]) -> Tally:
        """All counts added; ``tallies`` is not empty."""

        def total(name: str) -> list[Any]:
            parts = torch.tensor([getattr(tally, name) for tally in tallies], dtype=torch.float64)
            return parts.sum(0).tolist()

        steps, accepted, nodes, undrafted, *reached = (
            int(sum(part))
            for part in zip(
                *([t.steps, t.accepted, t.nodes, t.undrafted, *t.reached] for t in tallies),
                strict=True,
            )
        )
        counts = (steps, accepted, nodes, undrafted, reached)
        return cls(*counts, total("node_bins"), total("path_bins"))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def binned(predicted: Tensor, came_true: Tensor, counts: Tensor) -> Tensor:
    """``[B, BINS, 3]`` of predictions ``[B, N]``; those with ``counts`` False are left out."""
    which = (predicted * BINS).long().clamp(0, BINS - 1)
    parts = torch.stack([torch.ones_like(predicted), predicted, came_true.to(predicted)], dim=-1)
    parts = parts.masked_fill(~counts[..., None], 0.0)
    out = predicted.new_zeros(len(predicted), BINS, 3)
    return out.scatter_add_(1, which[..., None].expand_as(parts), parts)
