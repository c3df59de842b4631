"""A GLIDE draft ready to serve: the layer beside the target's embedding and head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import TargetModel
from ..packed import Linear, packed_linear
from .checkpoint import VOCABULARY
from .config import GlideConfig
from .layer import CrossAttend, GlideLayer, SelfAttend, frequencies, tables_of
from .native import NativeGlide
from .packed import pack


@dataclass
class GlideDraft:
    """Layer, frozen pieces of the target, and the draft vocabulary.

    Attributes:
        embedding: ``[V, H]`` the target's embedding.
        head: from ``[..., H]`` to ``[..., Vd]``: rows of the target's head, with the final norm's
            weight folded in.
        vocabulary: ``[Vd]`` target ids of the draft vocabulary, or None for all of them.
        frequencies: ``[head_dim / 2]`` of the rotary embedding.
        native: the same for few rows, where there is a kernel for it.
    """

    config: GlideConfig
    layer: GlideLayer
    embedding: Tensor
    head: Linear
    vocabulary: Tensor | None
    frequencies: Tensor
    native: NativeGlide | None = None

    @classmethod
    def build(
        cls, config: GlideConfig, state: Mapping[str, Tensor], target: TargetModel
    ) -> GlideDraft:
        """Assemble on the target's device and dtype."""
        weights = dict(state)
        vocabulary = weights.pop(VOCABULARY, None)
        with torch.device("meta"):
            layer = GlideLayer(config)
        layer.load_state_dict(weights, assign=True)
        head = target.head if vocabulary is None else target.head[vocabulary]
        if config.final_norm:
            head = (head.float() * target.final_norm.float()).to(head.dtype)
        layer = layer.eval().requires_grad_(False)
        native = NativeGlide.of(config, layer, target.embedding, head)
        rotary = frequencies(config.target.rope, config.target.head_dim, target.embedding.device)
        parts = (pack(layer), target.embedding, packed_linear(head), vocabulary, rotary)
        return cls(config, *parts, native)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return tables_of(self.frequencies, positions, self.embedding.dtype)

    def window_kv(self, token_ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """All blocks' K and V of tokens ``[n]``: ``[n, num_layers * kv_heads, head_dim]`` each."""
        return self.layer.self_kv(F.embedding(token_ids, self.embedding), *self.tables(positions))

    def best(
        self,
        tokens: Tensor,
        tables: tuple[Tensor, Tensor],
        hidden: Tensor | None,
        self_attend: SelfAttend,
        cross_attend: CrossAttend,
        k: int,
    ) -> tuple[Tensor, Tensor]:
        """The ``k`` likeliest continuations of each row.

        Args:
            tokens: ``[B, W]``.
            tables: from :meth:`tables`, at the rows' positions.
            hidden: ``[B, H]`` the target's state at each request's last verified token.

        Returns:
            log-probabilities and target token ids, ``[B, W, k]`` each.
        """
        x = F.embedding(tokens, self.embedding)
        fused = self.layer.fuse(x, None if hidden is None else hidden[:, None].expand_as(x))
        y = self.layer(x, fused, *tables, self_attend, cross_attend)
        logits = self.logits(y).float()
        if self.config.temperature != 1.0:
            logits = logits / self.config.temperature
        return self.ranked(logits, logits.logsumexp(-1, keepdim=True), k)

    def ranked(self, logits: Tensor, log_sums: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Of logits ``[..., Vd]`` the ``k`` greatest, as :meth:`best` returns them."""
        best = logits.topk(min(k, logits.shape[-1]), dim=-1)
        ids = best.indices if self.vocabulary is None else self.vocabulary[best.indices]
        return best.values - log_sums, ids

    def logits(self, y: Tensor) -> Tensor:
        """``[..., Vd]`` from the layer's output ``[..., H]``."""
        if self.config.final_norm:
            y = F.rms_norm(y, y.shape[-1:], eps=self.config.target.rms_norm_eps)
        return self.head(y)
