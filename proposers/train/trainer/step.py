"""One forward of the draft over a batch, as it will see things when it serves.

A query at position t predicts token t + 1. With lag j the target's keys up to t - j and its state
at t - j are known (:mod:`.lags`).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...base import TargetModel
from ...glide.config import GlideConfig
from ...glide.layer import GlideLayer
from ...rotary import rotary_tables
from . import lags
from .attention import PackedAttention
from .batches import Batch
from .loss import Goal, Weighting, distillation_loss


class Distiller:
    """A draft layer beside the frozen pieces of its target, in the layer's number type.

    Args:
        vocabulary: ``[Vd]`` the target's ids of the draft vocabulary; None is the whole one.
    """

    def __init__(
        self,
        config: GlideConfig,
        layer: GlideLayer,
        target: TargetModel,
        vocabulary: Tensor | None,
    ) -> None:
        self.config, self.layer = config, layer
        self.embedding, self.final_norm = target.embedding, target.final_norm
        whole = torch.arange(len(target.head), device=target.head.device)
        self.vocabulary = whole if vocabulary is None else vocabulary.to(whole.device)
        self.head = target.head if vocabulary is None else target.head[self.vocabulary].contiguous()
        self.entries = torch.full_like(whole, -1)
        self.entries[self.vocabulary] = torch.arange(len(self.vocabulary), device=whole.device)

    @property
    def reach(self) -> int:
        """How many tokens before its own a position needs."""
        return max(self.config.window, self.config.max_lag)

    def rows(self, batch: Batch, drawn: Tensor) -> Tensor:
        """``[N, H]`` inputs of the head at lags ``[N]``."""
        lag = drawn.minimum(batch.positions)  # the first positions have no such lag
        x = F.embedding(batch.tokens, self.embedding)
        query = x[batch.rows]
        fused = self.layer.fuse(query, batch.hidden[batch.rows - lag].to(x.dtype))
        y = self._layer(batch, x, fused, batch.positions - lag)
        if not self.config.final_norm:
            return y
        return F.rms_norm(y, y.shape[-1:], self.final_norm, self.config.target.rms_norm_eps)

    def _layer(self, batch: Batch, x: Tensor, fused: Tensor, known: Tensor) -> Tensor:
        target, layers = self.config.target, self.config.num_layers
        queries, tokens, cached = batch.sizes
        tables = rotary_tables(target.rope, batch.places, target.head_dim, x.dtype)
        parts = (t.chunk(layers, dim=-2) for t in self.layer.self_kv(x, *tables))
        own = list(zip(*parts, strict=True))
        low = batch.positions - self.config.window
        window = PackedAttention((queries, tokens), low, batch.positions, batch.token_positions)
        seen = PackedAttention(
            (queries, cached), torch.zeros_like(known), known, batch.cache_positions
        )
        y: Tensor = self.layer(
            x[batch.rows],
            fused,
            *(table[batch.rows] for table in tables),
            lambda query, _keys, _values, block: window(query, *own[block]),
            lambda query: seen(query, batch.keys, batch.values),
        )
        return y

    def loss(
        self,
        batch: Batch,
        weights: list[float],
        draws: torch.Generator,
        hard: float = 0.0,
        top_k: int = 0,
        weighting: Weighting = "none",
    ) -> tuple[Tensor, Tensor]:
        """Sum of the positions' weighted losses, and of their weights.

        Args:
            weights: how often lag 1, 2, ... is drawn.
            hard: share of the target's argmax in the goal.
            top_k: learn from so many stored logits; 0 is the whole distribution.
            weighting: of positions, see :class:`.loss.Goal`.
        """
        lay = lags.cycles if weighting in lags.ALONG_PATHS else lags.independent
        drawn = lay(batch.sizes[0], weights, draws).to(batch.positions.device)
        goal = self._goal(batch, hard, top_k)
        goal = replace(goal, depths=drawn - 1, weighting=weighting)
        return distillation_loss(self.rows(batch, drawn), self.head, goal)

    def _goal(self, batch: Batch, hard: float, top_k: int) -> Goal:
        following = self.entries[batch.following]
        if not top_k:
            states = batch.hidden[batch.rows].to(self.head.dtype)
            return Goal(hard, states, following=following)
        assert batch.top_tokens is not None
        assert batch.top_logits is not None
        assert batch.log_norm is not None
        tokens = self.entries[batch.top_tokens[:, :top_k].long()]
        tokens = tokens.masked_fill(batch.log_norm[:, None] == 0, -1)  # no logits were kept
        logits = batch.top_logits[:, :top_k]
        return Goal(hard, tokens=tokens, logits=logits, following=following)
