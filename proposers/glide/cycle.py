"""The draft forwards of one cycle, one a level: by kernels that take it, else by operators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..attention import masked_attention
from ..base import DraftContext
from ..levels import Frontier
from .model import GlideDraft
from .rows import Rows
from .window import SelfAttentionWindow
from .window_triton import Paths


class DraftCycle:
    """Drafts levels of trees of one shape (a :class:`proposers.growth.DraftStep`).

    Attributes:
        places: ring entries of the nodes.
    """

    def __init__(
        self,
        model: GlideDraft,
        window: SelfAttentionWindow,
        shape: Sequence[int],
        context: DraftContext,
    ) -> None:
        self.model, self.window, self.context = model, window, context
        self.roots, device = context.lengths - 1, context.lengths.device
        quick, most_rows = model.quick, len(self.roots) * max((1, *shape[:-1]))
        takes = quick is not None and quick.takes(most_rows, context.static)
        self.quick = quick if takes else None
        depths = torch.arange(len(shape), device=device)
        self.tables = (self.quick or model).tables(self.roots[:, None] + depths)
        self.places = window.capacity + torch.arange(sum(shape), device=device)

    def __call__(self, frontier: Frontier, k: int) -> tuple[Tensor, Tensor]:
        if self.quick is None:
            return self._by_operators(frontier, self._mask(frontier), k)
        rows = self._rows(frontier, self.quick.masked)
        attend = self.context.target_kv.attend
        return self.model.ranked(*self.quick.forward(rows, self.window, attend), k)

    def _rows(self, frontier: Frontier, masked: bool) -> Rows:
        (batch, width), depth, own = frontier.tokens.shape, frontier.depth, None
        if depth:  # the root is in the ring already
            own = self.places[frontier.first : frontier.first + width].expand(batch, -1)
            if not masked:
                self.paths = self.paths.below(frontier.origins)
        cos, sin = (table[:, depth] for table in self.tables)
        given = (frontier.tokens, cos, sin, self.context.slots, own, self.context.hidden_states)
        return Rows(*given, self._mask(frontier)) if masked else Rows(*given, paths=self.paths)

    def _by_operators(self, frontier: Frontier, mask: Tensor, k: int) -> tuple[Tensor, Tensor]:
        here = slice(frontier.depth, frontier.depth + 1)
        tables = (self.tables[0][:, here], self.tables[1][:, here])
        first, size = self.window.capacity + frontier.first, mask.shape[2]

        def self_attend(query: Tensor, keys: Tensor, values: Tensor, block: int) -> Tensor:
            held_keys, held_values = self.rings[block]
            if frontier.depth:
                width = query.shape[1]
                held_keys[:, :, first : first + width] = keys.transpose(1, 2)
                held_values[:, :, first : first + width] = values.transpose(1, 2)
            held = held_keys[:, :, :size], held_values[:, :, :size]
            return masked_attention(query.transpose(1, 2), *held, mask).transpose(1, 2)

        hidden, attend = self.context.hidden_states, self.context.target_kv.attend
        return self.model.best(frontier.tokens, tables, hidden, self_attend, attend, k)

    @cached_property
    def rings(self) -> list[tuple[Tensor, Tensor]]:
        """K and V of each block; their heads lie one after the other."""
        blocks, context = self.model.config.num_layers, self.context
        rings = self.window.entries(context.slots, context.static)
        return list(zip(*(ring.chunk(blocks, dim=1) for ring in rings), strict=True))

    @cached_property
    def paths(self) -> Paths:
        """Of the last level."""
        return Paths.of_roots(self.roots)

    @cached_property
    def ancestors(self) -> Tensor:
        """``[B, W, nodes]`` bool: which nodes the rows of the last level see."""
        return self.roots.new_zeros(len(self.roots), 1, 0, dtype=torch.bool)

    @cached_property
    def held(self) -> Tensor:
        """``[B, capacity]`` positions of ring entries; negative: empty."""
        return self.window.positions(self.context.lengths)

    def _mask(self, frontier: Frontier) -> Tensor:
        """``[B, W, entries]``: ring entries inside the window, then the row's own path."""
        held = self.held
        oldest = (self.roots + frontier.depth - self.window.window).clamp(min=0)
        in_window = (held >= oldest[:, None])[:, None].expand(-1, frontier.tokens.shape[1], -1)
        if frontier.depth:
            width = frontier.tokens.shape[1]
            rows = frontier.origins[:, :, None].expand(-1, -1, self.ancestors.shape[2])
            inherited = self.ancestors.gather(1, rows)
            own = torch.eye(width, dtype=torch.bool, device=held.device)
            self.ancestors = torch.cat([inherited, own.expand(len(held), -1, -1)], dim=2)
        return torch.cat([in_window, self.ancestors], dim=2)
