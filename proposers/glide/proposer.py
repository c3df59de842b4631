"""The GLIDE proposer: trees from one decoder layer that reads the target's own KV.

Per cycle: bring each request's window up to date, then one draft forward per tree level, all
requests at once (LongSpec, arXiv 2502.17421, sections 3.1 and 3.3).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..base import DraftContext, Proposer, TargetModel, TargetShape
from ..growth import MAX_NODES, check_shape, grow
from ..rotary import RotaryConfig
from ..tree import DraftTrees, likeliest, prune
from .checkpoint import check_glide, load_glide
from .config import GlideConfig
from .cycle import DraftCycle
from .model import GlideDraft
from .options import MAX_GROWN, OPTIONS, check_int8, check_nodes, check_temperature, log_of
from .window import SelfAttentionWindow


class GlideProposer(Proposer):
    """A GLIDE draft (:mod:`.layer`) that grows trees of a fixed shape.

    Options: ``tree_shape``, the nodes of each level; ``min_probability``, under which path
    probability a node is not worth a row of the target's forward (0 keeps all); ``nodes``, how many
    of the grown nodes are kept for the target, the likeliest paths (EAGLE-2's dynamic trees,
    arXiv 2406.16858; None keeps all); ``temperature``, in place of the draft's own; ``int8``,
    whether a CPU's kernel has its weights in 8 bits (:mod:`.native`; None: where that is quicker).
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
        temperature, self.int8 = (
            check_temperature(chosen["temperature"]),
            check_int8(chosen["int8"]),
        )
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
        """Refuse a target whose sizes or rotary embedding the draft was not trained for."""
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads"):
            self._agree(name, getattr(shape, name))
        self._agree("head_dim", shape.head_dim)
        if shape.rope is None or self.config.served_rope:
            return
        served = RotaryConfig.of(shape.rope, shape.head_dim)
        if differing := self.config.target.rope.differs(served):
            raise self._misfit(*differing)

    def _agree(self, name: str, served: int) -> None:
        trained = getattr(self.config.target, name)
        if trained != served:
            raise self._misfit(name, trained, served)

    def _misfit(self, name: str, trained: Any, served: Any) -> ValueError:
        return ValueError(
            f"the draft {self.draft_dir} was trained for a target with {name}={trained},"
            f" this one has {served}; serve {self.config.target.name} or train a draft"
        )

    def bind(self, target: TargetModel, requests: int = 1) -> None:
        """Load the weights beside the target's embedding and head, and make room for windows."""
        self.check_target(target.shape)
        dtype = target.embedding.dtype
        _, state = load_glide(self.draft_dir, "cpu", dtype, self.assumed)  # whole, on any rank
        self.model = GlideDraft.build(self.config, state, target, self.int8)
        self.window = self._new_window()
        self.window.reserve(requests)

    def _new_window(self) -> SelfAttentionWindow:
        target = self.model.config.target
        heads, width = self.config.num_layers * target.num_key_value_heads, target.head_dim
        window, keys_values = self.config.window, self.model.window_kv
        like, quick = self.model.embedding, self.model.quick
        return SelfAttentionWindow(window, self.most_grown, heads, width, keys_values, like, quick)

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
        trees, least = self.grown(context), self.least(context)
        budgets = context.budgets.clamp(max=self.max_nodes)
        if self.whole and context.least == -math.inf and self._all_fit(context, budgets):
            return trees
        return prune(trees, budgets, least, self.max_nodes if context.static else None)

    def _all_fit(self, context: DraftContext, budgets: Tensor) -> bool:
        if context.static:
            return not context.limited
        return bool((budgets >= self.most_grown).all())

    @property
    def whole(self) -> bool:
        """All that is grown is kept, but for smaller budgets and greater demands."""
        return self.min_log_prob == -math.inf and self.limit is None

    def least(self, context: DraftContext) -> float:
        """The log-probability under which a path is not worth a row of the target's forward."""
        return max(self.min_log_prob, context.least)

    @torch.inference_mode()
    def grown(self, context: DraftContext) -> DraftTrees:
        """Trees from which no node has been left out that any may have room for and that is likely
        enough; others are left in."""
        self.window.update(context)
        step = DraftCycle(self.model, self.window, self.shape, context)
        most = self.limit
        if not context.static:
            room = int(context.budgets.max())
            most = min(most or room, room) if room < self.max_nodes else most
        least = self.least(context)
        return grow(context.roots(), self.shape, step, least, most, static=context.static)

    def worthy(self, trees: DraftTrees, context: DraftContext) -> Tensor:
        """``[B, N]`` bool: the nodes of :meth:`grown` that :meth:`propose` would give, were there
        room for all."""
        least = self.least(context)
        if self.limit is None:
            return trees.log_probs >= least
        return likeliest(trees, torch.full_like(trees.sizes, self.limit), least)
