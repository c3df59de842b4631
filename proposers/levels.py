"""The nodes of growing trees, level by level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .tree import DraftTrees


@dataclass(frozen=True)
class Frontier:
    """The rows a draft step starts from: the root, then the nodes of the level before.

    Attributes:
        tokens: ``[B, W]`` token ids.
        origins: ``[B, W]`` which row of the frontier before each row grew from.
        depth: depth of these rows, 0 for the root.
        first: node index of the first row, the same for all requests; the others follow it. The
            root's is -1.
    """

    tokens: Tensor
    origins: Tensor
    depth: int
    first: int


@dataclass(frozen=True)
class Level:
    """The nodes that were chosen of those that could follow a frontier.

    Attributes:
        tokens: ``[B, W]`` int64.
        scores: ``[B, W]`` float32, cumulative log-probabilities, the greatest first.
        origins: ``[B, W]`` int64, the frontier's row that each grew from.
    """

    tokens: Tensor
    scores: Tensor
    origins: Tensor


class Levels:
    """Chooses levels and keeps them.

    Args:
        batch: trees.
        most: nodes of each that there may come to be.

    Attributes:
        count: levels that are kept; placed: their nodes.
    """

    def __init__(self, batch: int, most: int, device: torch.device) -> None:
        self.batch, self.device = batch, device
        self.kept: list[tuple[int, Level]] = []  # with the first node of the level above
        self.count = self.placed = 0

    def choose(
        self, frontier: Frontier, scores: Tensor, log_probs: Tensor, tokens: Tensor, width: int
    ) -> Level:
        """The likeliest ``width`` continuations of all rows of a frontier, fewer where there are.

        Args:
            scores: ``[B, W]`` of the rows.
            log_probs, tokens: ``[B, W, k]`` what may follow each row.
        """
        totals = (scores[:, :, None] + log_probs.float()).flatten(1)
        best = totals.topk(min(width, totals.shape[1]), dim=1)
        chosen = tokens.flatten(1).gather(1, best.indices)
        return Level(chosen, best.values, best.indices // log_probs.shape[2])

    def narrowed(self, level: Level, width: int) -> Level:
        """The likeliest ``width`` nodes of a level, where the next costs less from fewer."""
        parts = (level.tokens, level.scores, level.origins)
        return Level(*(part[:, :width] for part in parts))

    def keep(self, frontier: Frontier, level: Level) -> Frontier:
        """Keep the level that was chosen last; the frontier that it is."""
        here = Frontier(level.tokens, level.origins, frontier.depth + 1, self.placed)
        self.kept.append((frontier.first, level))
        self.count, self.placed = self.count + 1, self.placed + level.tokens.shape[1]
        return here

    def trees(self) -> DraftTrees:
        """All levels that were kept."""
        tokens, scores = ([getattr(x, name) for _, x in self.kept] for name in ("tokens", "scores"))
        parents = [first + level.origins for first, level in self.kept]
        depths = [torch.full_like(level, d + 1) for d, level in enumerate(tokens)]
        return self._sized(*(torch.cat(part, dim=1) for part in (tokens, parents, depths, scores)))

    def _sized(self, tokens: Tensor, parents: Tensor, depths: Tensor, scores: Tensor) -> DraftTrees:
        sizes = torch.full((self.batch,), self.placed, device=self.device)
        return DraftTrees(tokens, parents, depths, scores, sizes, self.count)
