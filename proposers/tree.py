"""Draft trees: the one data structure between proposing, verifying and accepting.

A batch of trees lies in padded tensors. Node ``i`` of request ``b`` has a token, a parent and a
depth; the *root*, the last verified token, is not a node, and is the parent ``-1``. Nodes are in
breadth-first order (parents before children), so any prefix of the nodes is again a tree.

*Rows* are what the target sees: row 0 is the root and row ``i + 1`` is node ``i``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class DraftTrees:
    """A batch of ``B`` draft trees, padded to ``N`` nodes.

    Attributes:
        tokens: ``[B, N]`` int64, token ids of the target's vocabulary.
        parents: ``[B, N]`` int64, node index of the parent; -1 is the root.
        depths: ``[B, N]`` int64, 1 for children of the root.
        log_probs: ``[B, N]`` float32, cumulative log-probability along the path.
        sizes: ``[B]`` int64, how many nodes of each row are real.
        levels: no node is deeper, as the host knows without a look at ``depths``.
    """

    tokens: Tensor
    parents: Tensor
    depths: Tensor
    log_probs: Tensor
    sizes: Tensor
    levels: int

    @property
    def batch_size(self) -> int:
        return self.tokens.shape[0]

    @property
    def max_nodes(self) -> int:
        return self.tokens.shape[1]

    def valid(self) -> Tensor:
        """``[B, N]`` bool, True for nodes that are not padding."""
        return torch.arange(self.max_nodes, device=self.tokens.device) < self.sizes[:, None]

    def truncated(self, sizes: Tensor) -> DraftTrees:
        """The first ``sizes[b]`` nodes of each tree, again a tree (breadth-first order)."""
        return replace(self, sizes=torch.minimum(self.sizes, sizes.to(self.sizes)))

    def rows(self, index: Sequence[int] | Tensor) -> DraftTrees:
        """The trees of the requests in ``index`` (``[B']``)."""
        pick = torch.as_tensor(index, dtype=torch.int64, device=self.tokens.device)
        return replace(self, **{f: getattr(self, f)[pick] for f in _FIELDS})

    def to(self, device: torch.device) -> DraftTrees:
        """The same trees on another device."""
        return replace(self, **{f: getattr(self, f).to(device) for f in _FIELDS})

    def token_lists(self) -> list[list[int]]:
        """The real tokens of each tree in breadth-first order."""
        pairs = zip(self.tokens.tolist(), self.sizes.tolist(), strict=True)
        return [row[:size] for row, size in pairs]


_FIELDS = ("tokens", "parents", "depths", "log_probs", "sizes")


def from_parents(
    tokens: Sequence[Sequence[int]],
    parents: Sequence[Sequence[int]],
    log_probs: Sequence[Sequence[float]] | None = None,
) -> DraftTrees:
    """Build trees from ragged lists.

    Raises:
        ValueError: a parent does not come before its child, or lengths differ.
    """
    size = [len(row) for row in tokens]
    width = max(size, default=0)
    depths = [_depths(row) for row in parents]
    scores = log_probs or [[0.0] * n for n in size]
    if size != [len(row) for row in parents] or size != [len(row) for row in scores]:
        raise ValueError("tokens, parents and log_probs differ in length")

    def pad(rows: Sequence[Sequence[float]], fill: float, dtype: torch.dtype) -> Tensor:
        padded = [list(row) + [fill] * (width - len(row)) for row in rows]
        return torch.tensor(padded, dtype=dtype).reshape(len(rows), width)

    return DraftTrees(
        pad(tokens, 0, torch.int64),
        pad(parents, -1, torch.int64),
        pad(depths, 1, torch.int64),
        pad(scores, 0.0, torch.float32),
        torch.tensor(size, dtype=torch.int64),
        max((max(row) for row in depths if row), default=0),
    )


def _depths(parents: Sequence[int]) -> list[int]:
    depths: list[int] = []
    for node, parent in enumerate(parents):
        if not -1 <= parent < node:
            raise ValueError(f"node {node} has parent {parent}; allowed: -1 to {node - 1}")
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return depths


def chains(tokens: Sequence[Sequence[int]]) -> DraftTrees:
    """Trees without branches: each token is the child of the one before it."""
    return from_parents(tokens, [range(-1, len(row) - 1) for row in tokens])


def ancestor_mask(trees: DraftTrees) -> Tensor:
    """Which row sees which: ``[B, N + 1, N + 1]`` bool, itself and its ancestors.

    Row ``r`` sees column ``c`` iff ``c`` is ``r`` or an ancestor of ``r`` (SpecInfer, section 4.2).
    Padding rows see themselves and the root.
    """
    batch, nodes = trees.tokens.shape
    device = trees.tokens.device
    up = torch.cat([trees.parents.new_zeros(batch, 1), trees.parents + 1], 1)
    mask = torch.eye(nodes + 1, dtype=torch.bool, device=device).repeat(batch, 1, 1)
    row = up
    for _ in range(trees.levels):
        mask.scatter_(2, row[:, :, None], True)
        row = up.gather(1, row)
    mask[:, :, 0] = True
    return mask


def row_positions(trees: DraftTrees, root_positions: Tensor) -> Tensor:
    """Absolute positions of all rows, ``[B, N + 1]``: root position + depth."""
    root = root_positions.to(trees.depths)[:, None]
    return torch.cat([root, root + trees.depths], dim=1)


def select(trees: DraftTrees, keep: Tensor, width: int | None = None) -> DraftTrees:
    """Keep a subset of nodes, closed under parents, and renumber.

    Args:
        keep: ``[B, N]`` bool; a kept node's parent must be kept (not checked).
        width: columns of the answer, at least as many as are kept; None: those of the largest
            tree, for which the device is read.
    """
    return _chosen(trees, keep & trees.valid(), width)


def _chosen(trees: DraftTrees, keep: Tensor, width: int | None) -> DraftTrees:
    """:func:`select` where no padding is to be kept."""
    sizes = keep.sum(1)
    order = torch.sort((~keep).to(torch.int8), dim=1, stable=True).indices
    if width is None:
        width = int(sizes.max()) if sizes.numel() else 0
    order = order[:, :width]
    new_index = torch.cumsum(keep, dim=1) - 1
    parents = trees.parents.gather(1, order)
    moved = torch.where(parents < 0, parents, new_index.gather(1, parents.clamp(min=0)))
    return replace(
        trees,
        tokens=trees.tokens.gather(1, order),
        parents=moved,
        depths=trees.depths.gather(1, order),
        log_probs=trees.log_probs.gather(1, order),
        sizes=sizes,
        levels=min(trees.levels, width),
    )


def prune(
    trees: DraftTrees,
    budgets: Tensor,
    min_log_prob: float = float("-inf"),
    width: int | None = None,
) -> DraftTrees:
    """The ``budgets[b]`` likeliest nodes of each tree, none under ``min_log_prob``.

    Path probability never grows with depth and ties keep breadth-first order, so the best nodes are
    closed under parents: this is the tree of greatest expected acceptance of that size. Nodes of no
    likelihood are never kept. ``width`` as in :func:`select`.
    """
    return _chosen(trees, likeliest(trees, budgets, min_log_prob), width)


def main_path(trees: DraftTrees) -> Tensor:
    """``[B, N]`` bool: the nodes of one path, that from the root on to the likeliest child."""
    keep = torch.zeros_like(trees.parents, dtype=torch.bool)
    valid, at = trees.valid(), trees.sizes.new_full((trees.batch_size, 1), -1)
    for _ in range(trees.levels):
        children = (trees.parents == at) & valid
        scores = trees.log_probs.masked_fill(~children, float("-inf"))
        best = scores.argmax(1, keepdim=True)
        found = children.gather(1, best)
        keep.scatter_(1, best, found | keep.gather(1, best))
        at = torch.where(found, best, trees.max_nodes)  # no node's parent
    return keep


def in_chains(trees: DraftTrees, chained: Tensor, width: int | None = None) -> DraftTrees:
    """Trees of which those that are ``chained`` (``[B]`` bool) keep their :func:`main_path` alone.

    ``width`` as in :func:`select`.
    """
    return select(trees, main_path(trees) | ~chained[:, None], width)


def likeliest(trees: DraftTrees, budgets: Tensor, min_log_prob: float = float("-inf")) -> Tensor:
    """``[B, N]`` bool: the nodes that :func:`prune` keeps."""
    scores = _scores(trees)
    likely = scores >= max(min_log_prob, torch.finfo(scores.dtype).min)
    return (_ranks(scores) < budgets.to(trees.sizes)[:, None]) & likely


def ranks(trees: DraftTrees) -> Tensor:
    """``[B, N]`` int64: each node's place by likelihood, the likeliest first; padding comes last.

    Equally likely nodes keep breadth-first order.
    """
    return _ranks(_scores(trees))


def _scores(trees: DraftTrees) -> Tensor:
    return trees.log_probs.masked_fill(~trees.valid(), float("-inf"))


def _ranks(scores: Tensor) -> Tensor:
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
