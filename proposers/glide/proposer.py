"""The GLIDE proposer: trees from one decoder layer that reads the target's own KV.

Per cycle: bring each request's window up to date, then one draft forward per tree level, all
requests at once (LongSpec, arXiv 2502.17421, sections 3.1 and 3.3).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attention import masked_attention
from ..base import DraftContext, Proposer, TargetKV, TargetModel, TargetShape
from ..growth import MAX_NODES, Frontier, check_shape, grow
from ..tree import DraftTrees, likeliest, prune
from .checkpoint import check_glide, load_glide
from .config import GlideConfig
from .model import GlideDraft
from .native import Rows
from .options import MAX_GROWN, OPTIONS, check_nodes, check_temperature, log_of
from .window import SelfAttentionWindow


class GlideProposer(Proposer):
    """A GLIDE draft (:mod:`.layer`) that grows trees of a fixed shape.

    Options: ``tree_shape``, the nodes of each level; ``min_probability``, under which path
    probability a node is not worth a row of the target's forward (0 keeps all); ``nodes``, how many
    of the grown nodes are kept for the target, the likeliest paths (EAGLE-2's dynamic trees,
    arXiv 2406.16858; None keeps all); ``temperature``, in place of the draft's own.
    """

    sharded = True

    def __init__(
        self,
        draft_dir: Path | None,
        options: Mapping[str, Any],
        assumed: GlideConfig | None = None,
    ) -> None:
        if draft_dir is None:
            raise ValueError(
                "proposer 'glide' needs a draft: name its folder as \"model\" (vLLM) or with"
                " --speculative-draft-model-path (SGLang)"
            )
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise ValueError(
                f"{unknown[0]}={options[unknown[0]]!r} is unknown to proposer 'glide';"
                f" allowed: proposer, {', '.join(OPTIONS)}"
            )
        chosen = {**OPTIONS, **options}
        self._take_shape(chosen["tree_shape"], check_nodes(chosen["nodes"]))
        self.min_log_prob = log_of(chosen["min_probability"])
        temperature = check_temperature(chosen["temperature"])
        self.draft_dir, self.assumed = draft_dir, assumed
        self.config = check_glide(draft_dir, assumed)
        if temperature is not None:
            self.config = self.config.model_copy(update={"temperature": temperature})

    def _take_shape(self, shape: Sequence[int], nodes: int | None) -> None:
        self.nodes = nodes
        most = MAX_NODES if nodes is None else MAX_GROWN
        self.shape = check_shape(shape, most)[:nodes]  # no path is longer than all that is kept
        self.most_grown, self.max_depth = sum(self.shape), len(self.shape)
        self.max_nodes = min(self.most_grown, nodes or self.most_grown)
        self.limit = nodes if self.max_nodes < self.most_grown else None

    def check_target(self, shape: TargetShape) -> None:
        """Refuse a target whose sizes are not those the draft was trained for."""
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads"):
            self._agree(name, getattr(shape, name))
        self._agree("head_dim", shape.head_dim)

    def _agree(self, name: str, served: int) -> None:
        trained = getattr(self.config.target, name)
        if trained != served:
            raise ValueError(
                f"the draft {self.draft_dir} was trained for a target with {name}={trained},"
                f" this one has {served}; serve {self.config.target.name} or train a draft"
            )

    def bind(self, target: TargetModel, requests: int = 1) -> None:
        """Load the weights beside the target's embedding and head, and make room for windows."""
        self.check_target(target.shape)
        dtype = target.embedding.dtype
        _, state = load_glide(self.draft_dir, "cpu", dtype, self.assumed)  # whole, on any rank
        self.model = GlideDraft.build(self.config, state, target)
        self.window = self._new_window()
        self.window.reserve(requests)

    def _new_window(self) -> SelfAttentionWindow:
        target = self.model.config.target
        heads, width = self.config.num_layers * target.num_key_value_heads, target.head_dim
        window, keys_values = self.config.window, self.model.window_kv
        like, native = self.model.embedding, self.model.native
        return SelfAttentionWindow(window, self.most_grown, heads, width, keys_values, like, native)

    def reshaped(self, shape: Sequence[int], nodes: int | None = None) -> GlideProposer:
        """The same loaded draft, growing trees of another shape and keeping ``nodes`` of them."""
        other = copy.copy(self)
        other._take_shape(shape, check_nodes(nodes))
        other.window = other._new_window()
        return other

    def held(self) -> int:
        return self.window.ring.nbytes

    @torch.inference_mode()
    def start(self, context: DraftContext) -> None:
        self.window.fill(context)

    @torch.inference_mode()
    def propose(self, context: DraftContext) -> DraftTrees:
        trees = self.grown(context)
        budgets = context.budgets.clamp(max=self.max_nodes)
        if self.whole and self._all_fit(context, budgets):
            return trees
        return prune(trees, budgets, self.min_log_prob, self.max_nodes if context.static else None)

    def _all_fit(self, context: DraftContext, budgets: Tensor) -> bool:
        if context.static:
            return not context.limited
        return bool((budgets >= self.most_grown).all())

    @property
    def whole(self) -> bool:
        """All that is grown is kept, but for smaller budgets."""
        return self.min_log_prob == -math.inf and self.limit is None

    @torch.inference_mode()
    def grown(self, context: DraftContext) -> DraftTrees:
        """Trees from which no node has been left out, whatever its likelihood, unless no tree may
        have room for it."""
        self.window.update(context)
        step, most = _DraftCycle(self, context), self.limit
        if not context.static:
            room = int(context.budgets.max())
            most = min(most or room, room) if room < self.max_nodes else most
        return grow(
            context.roots(), self.shape, step, self.min_log_prob, most, static=context.static
        )

    def worthy(self, trees: DraftTrees) -> Tensor:
        """``[B, N]`` bool: the nodes of :meth:`grown` that :meth:`propose` would give."""
        if self.limit is None:
            return trees.log_probs >= self.min_log_prob
        budgets = torch.full_like(trees.sizes, self.limit)
        return likeliest(trees, budgets, self.min_log_prob)


class _DraftCycle:
    """The draft forwards of one cycle: one call per level (:class:`proposers.growth.DraftStep`)."""

    def __init__(self, proposer: GlideProposer, context: DraftContext) -> None:
        self.model = proposer.model
        self.window = proposer.window
        self.kv: TargetKV = context.target_kv
        self.roots = context.lengths - 1
        held = self.window.positions(context.lengths)
        self.held = held  # positions of ring entries; negative: empty
        batch, capacity = held.shape
        self.slots, self.static = context.slots, context.static
        native = None if context.static else self.model.native
        most_rows = batch * max((1, *proposer.shape[:-1]))
        self.native = native if native is not None and native.takes(most_rows) else None
        self.ancestors = torch.zeros(batch, 1, 0, dtype=torch.bool, device=held.device)
        self.capacity = capacity
        self.hidden = context.hidden_states
        depths = torch.arange(proposer.max_depth, device=held.device)
        self.tables = (self.native or self.model).tables(self.roots[:, None] + depths)

    @cached_property
    def rings(self) -> list[tuple[Tensor, Tensor]]:
        """K and V of each block; their heads lie one after the other."""
        blocks = self.model.config.num_layers
        parts = [ring.chunk(blocks, dim=1) for ring in self.window.entries(self.slots, self.static)]
        return list(zip(*parts, strict=True))

    def __call__(self, frontier: Frontier, k: int) -> tuple[Tensor, Tensor]:
        mask = self._mask(frontier)
        if self.native is None:
            return self._by_operators(frontier, mask, k)
        cos, sin = (table[:, frontier.depth] for table in self.tables)
        own = self.capacity + frontier.nodes if frontier.depth else None  # the root is in the ring
        rows = Rows(frontier.tokens, cos, sin, self.slots, own, mask, self.hidden)
        return self.model.ranked(*self.native.forward(rows, self.window, self.kv.attend), k)

    def _by_operators(self, frontier: Frontier, mask: Tensor, k: int) -> tuple[Tensor, Tensor]:
        here = slice(frontier.depth, frontier.depth + 1)
        cos, sin = (table[:, here] for table in self.tables)
        first = self.capacity + frontier.first

        def self_attend(query: Tensor, keys: Tensor, values: Tensor, block: int) -> Tensor:
            held_keys, held_values = self.rings[block]
            if frontier.depth:  # the root is in the ring already
                width = query.shape[1]
                held_keys[:, :, first : first + width] = keys.transpose(1, 2)
                held_values[:, :, first : first + width] = values.transpose(1, 2)
            size = mask.shape[2]
            held = held_keys[:, :, :size], held_values[:, :, :size]
            return masked_attention(query.transpose(1, 2), *held, mask).transpose(1, 2)

        return self.model.best(
            frontier.tokens, (cos, sin), self.hidden, self_attend, self.kv.attend, k
        )

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
