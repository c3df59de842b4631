"""One forward of the draft over a batch, as it will see things when it serves.

A query at position t predicts token t + 1. With lag j the target's keys up to t - j and its state
at t - j are known, as at depth j - 1 of a tree; every position draws a lag of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import TargetModel
from ..glide.config import GlideConfig
from ..glide.layer import GlideLayer, rotary_tables, rotate
from .data import Batch
from .loss import distillation_loss

ANCHORS = 4
"""Tokens that keep their place when the rest is moved away (LongSpec, section 3.2)."""


class Distiller:
    """Layer, frozen target pieces and loss over the draft vocabulary ``[Vd]``.

    ``anchor_offset`` moves all but the first :data:`ANCHORS` tokens of a sequence up to so many
    positions on, so that short texts train long positions too. Queries, window keys and the
    target's cached keys are rotated to the new places; the cached features themselves were made
    at the plain ones (the paper runs the target at the moved ones).
    """

    def __init__(
        self,
        config: GlideConfig,
        layer: GlideLayer,
        target: TargetModel,
        vocabulary: Tensor,
        anchor_offset: int = 0,
    ) -> None:
        self.anchor_offset = anchor_offset
        self.config, self.layer = config, layer
        self.embedding = target.embedding
        self.final_norm = target.final_norm.float()
        self.vocabulary = vocabulary
        self.head = target.head[vocabulary].contiguous()

    def loss(self, batch: Batch, lags: Tensor, hard: float) -> Tensor:
        """Mean loss over the valid positions; ``lags`` is ``[B, Q]``, 1 or more."""
        shift = torch.randint(0, self.anchor_offset + 1, (len(lags), 1))
        rows, teacher = self.rows(batch, lags, shift), states(batch.hidden, batch.positions)
        keep = batch.valid
        return distillation_loss(rows[keep], self.head, teacher[keep], hard)

    def rows(self, batch: Batch, lags: Tensor, shift: Tensor | None = None) -> Tensor:
        """``[B, Q, H]`` inputs of the head; ``shift`` ``[B, 1]`` moves positions, see above."""
        lags = lags.minimum(batch.positions)  # the first positions have no such lag
        known = batch.positions - lags
        x = F.embedding(batch.tokens.long(), self.embedding)
        query = states(x, batch.positions)
        fused = self.layer.fuse(query, states(batch.hidden, known))
        y = self._layer(batch, x, fused, known, shift)
        eps = self.config.target.rms_norm_eps
        normed: Tensor = F.rms_norm(y.float(), y.shape[-1:], self.final_norm, eps)
        return normed

    def _layer(
        self, batch: Batch, x: Tensor, fused: Tensor, known: Tensor, shift: Tensor | None
    ) -> Tensor:
        target, at = self.config.target, batch.positions
        every = torch.arange(x.shape[1])
        moved = torch.zeros_like(batch.tokens, dtype=torch.long)
        if shift is not None:
            moved = shift * (every >= ANCHORS)
        cos, sin = rotary_tables(target.rope, every + moved, target.head_dim, x.dtype)
        keys, values = self.layer.self_kv(x, cos, sin)
        target_keys = batch.keys
        if bool(moved.any()):  # a rotation by the distance moved
            by = rotary_tables(target.rope, moved, target.head_dim, torch.float32)
            target_keys = rotate(batch.keys.float(), *by).to(batch.keys.dtype)
        own = (every <= at[..., None]) & (every >= at[..., None] - self.config.window)
        seen = every <= known[..., None]
        y: Tensor = self.layer(
            states(x, at),
            fused,
            states(cos, at),
            states(sin, at),
            lambda query, *_: attend(query, keys, values, own),
            lambda query: attend(query, target_keys, batch.values, seen),
        )
        return y


def states(rows: Tensor, index: Tensor) -> Tensor:
    """``[B, Q, H]`` rows ``[B, K, H]`` at ``index [B, Q]``."""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Masked attention: ``[B, Q, heads, d]`` over ``[B, K, kv_heads, d]``, mask ``[B, Q, K]``."""
    groups = query.shape[2] // keys.shape[2]
    k, v = (t.to(query.dtype).transpose(1, 2).repeat_interleave(groups, 1) for t in (keys, values))
    out = F.scaled_dot_product_attention(query.transpose(1, 2), k, v, attn_mask=mask[:, None])
    return out.transpose(1, 2)
