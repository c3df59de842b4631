"""The target's forwards: a prompt, and the rows of draft trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..attention import key_bias, prefix_attention
from ..base import TargetModel
from ..packed import pack_linears
from ..pretrained import settle_rotary
from ..tree import DraftTrees, ancestor_mask, row_positions
from .attention import Pass
from .cache import KVCache
from .loading import target_shape


@dataclass(frozen=True)
class LastLayerKV:
    """The last layer's verified K and V, as drafts read them (:class:`proposers.base.TargetKV`)."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None

    def attend(self, query: Tensor) -> Tensor:
        rows = query.transpose(1, 2)
        scale = query.shape[-1] ** -0.5
        return prefix_attention(rows, self.keys, self.values, self.bias, scale)[0].transpose(1, 2)


class OfflineTarget:
    """A causal language model of transformers whose attention is ours.

    Attributes:
        weight_bytes: of all weights, which a forward has to read.
        rotary: its rotary embedding.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.shape = target_shape(model.config)
        self.rotary = settle_rotary(model)
        self.embedding: Tensor = model.get_input_embeddings().weight
        self.head_weight: Tensor = model.get_output_embeddings().weight
        self.weight_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        pack_linears(model)
        self.head = model.get_output_embeddings()

    @property
    def device(self) -> torch.device:
        return self.embedding.device

    def borrowed(self) -> TargetModel:
        """What a draft model borrows."""
        return TargetModel(
            self.shape,
            self.embedding,
            self.head_weight,
            self.model.base_model.norm.weight,
            rotary=self.rotary,
        )

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        layers, shape = self.model.config.num_hidden_layers, self.shape
        return KVCache(
            layers, batch, shape.num_key_value_heads, capacity, shape.head_dim, self.embedding
        )

    def prefill(
        self, input_ids: Tensor, lengths: Sequence[int], cache: KVCache
    ) -> tuple[Tensor, Tensor]:
        """Read prompts ``[B, P]``, right-padded.

        Returns:
            logits ``[B, V]`` and last hidden state ``[B, H]`` at each prompt's last token.
        """
        hidden = self._forward(input_ids, None, Pass(cache, prompt=True))
        cache.lengths = list(lengths)
        last = torch.tensor(lengths, device=hidden.device) - 1
        hidden = hidden[torch.arange(len(last), device=hidden.device), last]
        return self.head(hidden), hidden

    def verify(
        self, roots: Tensor, trees: DraftTrees, cache: KVCache, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One forward over the root and all nodes of each tree.

        Args:
            roots: ``[B]`` last verified tokens.
            bias: of the cache's verified tokens, from :meth:`bias`.

        Returns:
            logits ``[B, N + 1, V]`` and hidden states ``[B, N + 1, H]``.
        """
        rows = torch.cat([roots[:, None], trees.tokens], dim=1)
        positions = row_positions(trees, torch.tensor(cache.lengths, device=rows.device))
        mask = ancestor_mask(trees) if trees.max_nodes else None
        hidden = self._forward(rows, positions, Pass(cache, mask, bias))
        return self.head(hidden), hidden

    def bias(self, cache: KVCache, extra: int = 0) -> Tensor | None:
        """For ``extra`` rows behind the verified tokens of each request."""
        lengths = [length + extra for length in cache.lengths]
        return key_bias(lengths, max(lengths), self.embedding)

    def last_layer(self, cache: KVCache, bias: Tensor | None) -> LastLayerKV:
        return LastLayerKV(*cache.prefix(-1), bias)

    def _forward(self, rows: Tensor, positions: Tensor | None, how: Pass) -> Tensor:
        if positions is None:
            positions = torch.arange(rows.shape[1], device=rows.device)[None]
        output = self.model.base_model(
            input_ids=rows, position_ids=positions, past_key_values=how.cache, longspec=how
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
