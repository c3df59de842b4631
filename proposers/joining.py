"""Two draft trees of each request in one: shared beginnings are stored once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .tree import DraftTrees


@dataclass(frozen=True)
class Joined:
    """The nodes of two trees side by side, ``[B, N1 + N2]``, before any is left out.

    Attributes:
        trees: the second tree's nodes behind the first's; ``sizes`` count all of them.
        keep: ``[B, N1 + N2]`` bool, False for padding and for what the first tree holds already.
        places: ``[B, N2]`` the node that stands for each of the second tree's.
        shared: no deeper node can be one of both trees.
    """

    trees: DraftTrees
    keep: Tensor
    places: Tensor
    shared: int

    def raised(self) -> DraftTrees:
        """Each node as likely as the likeliest node below it that only the second tree has, so
        that pruning keeps whole paths; what is not to be kept has no likelihood.

        The likeliest of these hangs on a shared node, as likelihood falls with depth.
        """
        trees, first = self.trees, self.keep.shape[1] - self.places.shape[1]
        scores = trees.log_probs.masked_fill(~self.keep, float("-inf"))
        new = scores[:, first:]
        above = F.pad(trees.parents + 1, (1, 0))
        padded = torch.cat([scores[:, :1], scores], 1)  # in front: the root, of no account
        at = self.places + 1
        for _ in range(self.shared):
            at = above.gather(1, at)
            padded.scatter_reduce_(1, at, new, "amax")
        return replace(trees, log_probs=padded[:, 1:])


def join(first: DraftTrees, second: DraftTrees, real: Tensor, also_real: Tensor) -> Joined:
    """Put two trees of each request into one. Shapes depend on the shapes of both alone.

    Parents still come before their children, though not all nodes of a level before the next.

    Args:
        real, also_real: ``[B, N1]`` and ``[B, N2]`` bool, closed under parents: the nodes of both.
    """
    n, m = first.max_nodes, second.max_nodes
    known, at = _same_paths(first, second, real, also_real).max(1)
    places = torch.where(known, at - 1, n + torch.arange(m, device=at.device))
    parents = second.parents
    if m:
        moved = places.gather(1, parents.clamp(min=0))
        parents = torch.where(parents < 0, parents, moved)
    sizes = torch.full_like(first.sizes, n + m)
    both = DraftTrees(
        torch.cat([first.tokens, second.tokens], 1),
        torch.cat([first.parents, parents], 1),
        torch.cat([first.depths, second.depths], 1),
        torch.cat([first.log_probs, second.log_probs], 1),
        sizes,
        max(first.levels, second.levels),
    )
    keep = torch.cat([real, also_real & ~known], 1)
    return Joined(both, keep, places, min(first.levels, second.levels))


def _same_paths(first: DraftTrees, second: DraftTrees, real: Tensor, also_real: Tensor) -> Tensor:
    """``[B, 1 + N1, N2]`` bool: the paths to both carry the same tokens; row 0 is the root."""
    rows = F.pad(first.tokens.where(real, -2), (1, 0), value=-1)
    columns = F.pad(second.tokens.where(also_real, -3), (1, 0), value=-1)
    nodes = (rows[:, :, None] == columns[:, None]).flatten(1)  # the root, -1, is the root
    above = F.pad(first.parents + 1, (1, 0)) * columns.shape[1]
    pairs = (above[:, :, None] + F.pad(second.parents + 1, (1, 0))[:, None]).flatten(1)
    same = nodes
    for _ in range(min(first.levels, second.levels)):
        same = nodes & same.gather(1, pairs)
    return same.view(len(rows), -1, columns.shape[1])[:, :, 1:]
