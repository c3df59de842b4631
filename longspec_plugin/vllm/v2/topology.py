"""The trees between one step and the next, by request slot, and where their rows lie in a step.

Everything is in buffers that stay where they are, so a captured graph that reads them reads this
step's values; nothing is read back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proposers import kernels
from proposers.attention.paged_triton import PagedRows
from proposers.topology_triton import write_topology
from proposers.tree import DraftTrees, ancestor_mask


class TreeTopology:
    """Shapes of the trees that were drafted last, by request slot.

    Attributes:
        nodes: the most nodes of a tree; levels: the most levels.
        parents, depths: ``[slots, nodes]`` int64, as in :class:`proposers.tree.DraftTrees`.
        sizes: ``[slots]`` int64.
        mask: ``[slots, 1 + nodes, 1 + nodes]`` uint8, row sees row.
    """

    def __init__(self, slots: int, nodes: int, levels: int, device: torch.device) -> None:
        self.nodes, self.levels = nodes, levels
        self.parents = torch.full((slots, nodes), -1, device=device)
        self.depths = torch.ones_like(self.parents)
        self.sizes = torch.zeros(slots, dtype=torch.int64, device=device)
        mask = torch.eye(1 + nodes, dtype=torch.uint8, device=device)
        self.mask = mask.repeat(slots, 1, 1)
        self.mask[:, :, 0] = 1

    def held(self) -> int:
        """Bytes."""
        return sum(part.nbytes for part in (self.parents, self.depths, self.sizes, self.mask))

    def write(self, slots: Tensor, trees: DraftTrees) -> None:
        """Keep the trees (``[B, at most nodes]``) of the requests in ``slots``."""
        if kernels.runs_on(slots.device):
            held = (self.parents, self.depths, self.sizes, self.mask)
            write_topology(trees, slots, *held)
            return
        width = trees.max_nodes
        self.parents[slots, :width] = trees.parents
        self.depths[slots, :width] = trees.depths
        self.sizes[slots] = trees.sizes
        self.mask[slots, : 1 + width, : 1 + width] = ancestor_mask(trees).to(torch.uint8)

    def extra_depth(self, slots: Tensor, places: Tensor) -> Tensor:
        """How much deeper a row lies than it stands behind its root (never more than 0).

        Args:
            slots, places: ``[rows]`` a row's request, and how many rows it stands behind the root.
        """
        node = (places - 1).clamp(min=0)
        return torch.where(places > 0, self.depths[slots, node] - places, 0)


class StepRows:
    """Where the rows of a step's trees lie: buffers for ``requests`` requests of a batch."""

    def __init__(self, requests: int, device: torch.device) -> None:
        self.first, self.counts, self.prefix = torch.zeros(
            3, requests, dtype=torch.int32, device=device
        )
        self.slots = torch.zeros(requests, dtype=torch.int64, device=device)

    def fill(self, batch: Any, requests: int, whole: bool) -> None:
        """Take the first ``requests`` of vLLM's input batch: the rows that logits are computed of
        are a root and its tree, of a ``whole`` step all rows. The buffers' rest is requests
        without rows."""
        for part in (self.counts, self.prefix):
            part[requests:].zero_()
        counts, ends = self.counts[:requests], batch.query_start_loc[1 : requests + 1]
        bounds = batch.query_start_loc if whole else batch.cu_num_logits
        torch.sub(bounds[1 : requests + 1], bounds[:requests], out=counts)
        torch.sub(ends, counts, out=self.first[:requests])
        prefix = torch.sub(batch.seq_lens[:requests], counts, out=self.prefix[:requests])
        prefix.clamp_(min=0)  # backends shorten lengths where a graph is captured
        self.slots[:requests] = batch.idx_mapping[:requests]

    def paged(self, table: Tensor, width: int, mask: Tensor) -> PagedRows:
        """The same for kernels, for as many requests as ``table [B, T]`` has, ``width`` rows each
        at most."""
        count = len(table)
        first, counts, prefix = (part[:count] for part in (self.first, self.counts, self.prefix))
        return PagedRows(width, first, counts, prefix, table, self.slots[:count], mask)
