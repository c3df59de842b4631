"""A GLIDE draft ready to serve: the layer beside the target's embedding and head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..base import TargetModel
from ..packed import Linear, packed_linear
from ..rotary import Rotary
from ..sharding import Shard
from .checkpoint import VOCABULARY
from .config import GlideConfig
from .fused import FusedGlide
from .layer import CrossAttend, GlideLayer, SelfAttend
from .native import NativeGlide
from .packed import pack
from .sharded import likeliest, local_config, local_state


@dataclass
class GlideDraft:
    """Layer, frozen pieces of the target, and the draft vocabulary; or one rank's part of them.

    Attributes:
        config: with the sizes of this rank's layer.
        embedding: ``[V, H]`` the target's embedding, or this rank's rows of it.
        head: from ``[..., H]`` to ``[..., Vd]``: rows of the target's head, with the final norm's
            weight folded in. A draft vocabulary's are on every rank; others stay where they are.
        vocabulary: ``[Vd]`` target ids of the head's rows, or None for all of them.
        rotary: the target's rotary embedding.
        choices: tokens that can be drafted, on whichever rank their rows are.
        quick: the same in few kernels, where there are some for this draft and device: on a GPU for
            all steps, on a CPU for few rows. What it does not take is done by the layer.
    """

    config: GlideConfig
    layer: GlideLayer
    embedding: Tensor
    head: Linear
    vocabulary: Tensor | None
    rotary: Rotary
    choices: int
    shard: Shard
    quick: NativeGlide | FusedGlide | None = None

    @classmethod
    def build(
        cls,
        config: GlideConfig,
        state: Mapping[str, Tensor],
        target: TargetModel,
        int8: bool | None = None,
    ) -> GlideDraft:
        """Assemble on the target's device, in the dtype of ``state``.

        Args:
            int8: as :meth:`.native.NativeGlide.of` takes it.

        Raises:
            ValueError: in one line, if the draft cannot be dealt out to the target's ranks.
        """
        shard, embedding, config = target.shard, target.embedding, config.on(target.shape)
        local, weights = local_config(config, shard), local_state(config, state, shard)
        weights = {name: tensor.to(embedding.device) for name, tensor in weights.items()}
        vocabulary, head = _head(weights.pop(VOCABULARY, None), target)
        with torch.device("meta"):
            layer = GlideLayer(local)
        layer.load_state_dict(weights, assign=True)
        for block in layer.blocks():
            block.summed = shard.all_reduce
        if config.final_norm:
            head = (head.float() * target.final_norm.float()).to(head.dtype)
        layer = layer.eval().requires_grad_(False)
        rotary = target.rotary or _rotary(config, target)
        given = (layer, embedding, head, rotary, shard)
        quick = FusedGlide.of(local, *given) or NativeGlide.of(local, *given, int8)
        parts = (pack(layer), embedding, packed_linear(head), vocabulary, rotary)
        choices = config.draft_vocab_size or target.shape.vocab_size
        return cls(local, *parts, choices, shard, quick)

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rotary.tables(positions, self.embedding.dtype)

    def embed(self, tokens: Tensor) -> Tensor:
        """``[..., H]`` the embeddings of tokens ``[...]``."""
        return self.shard.rows(self.embedding, tokens)

    def window_kv(self, token_ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """All blocks' K and V of tokens ``[n]``: ``[n, num_layers * kv_heads, head_dim]`` each."""
        return self.layer.self_kv(self.embed(token_ids), *self.tables(positions))

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
        x = self.embed(tokens)
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
        if self.shard.size == 1:
            return best.values - log_sums, ids
        spread = self.config.draft_vocab_size is None
        return likeliest(self.shard, best.values, ids, log_sums, min(k, self.choices), spread)

    def logits(self, y: Tensor) -> Tensor:
        """``[..., Vd]`` from the layer's output ``[..., H]``."""
        if self.config.final_norm:
            y = F.rms_norm(y, y.shape[-1:], eps=self.config.target.rms_norm_eps)
        return self.head(y)


def _rotary(config: GlideConfig, target: TargetModel) -> Rotary:
    positions = target.shape.max_position_embeddings
    return Rotary(config.target.rope, target.shape.head_dim, target.embedding.device, positions)


def _head(vocabulary: Tensor | None, target: TargetModel) -> tuple[Tensor | None, Tensor]:
    """Target ids of a draft's head on this rank, and the rows of the target's head for them."""
    if vocabulary is not None:
        return vocabulary, target.shard.rows(target.head, vocabulary)
    if target.shard.size == 1:
        return None, target.head
    first = target.shard.rank * len(target.head)
    head = target.head[: max(target.shape.vocab_size - first, 0)]  # no padding
    return first + torch.arange(len(head), device=head.device), head
