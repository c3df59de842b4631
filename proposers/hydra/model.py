"""A Hydra: the trunk of a target's first layers, and N heads of its last ones.

``logits_i = LMhead(norm(head_i(trunk(E[x]))))``. Norm, LM head, embedding and trunk are the
target's, shared with it; every head has layers of its own. All layers are transformers' own,
called with a cache and position embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..rotary import positions_of
from .bridge import Bridge, load_bridge
from .cache import StackCache
from .config import HydraConfig
from .heads import Heads, make_heads
from .target import causal_mask, check_target, eos_ids, kv_shape


class HydraTransformer(nn.Module):
    """Made by :meth:`from_target`. All rows of a batch have one length: there is no padding.

    Without KV caches a forward is a whole context; after :meth:`init_kv_cache` it is appended to
    what the caches hold. No method enters inference mode.
    """

    def __init__(self, model: Any, config: HydraConfig, heads: nn.ModuleList) -> None:
        super().__init__()
        base, self.target_config = model.base_model, model.config
        self.config = config
        self.embedding, self.norm, self.rotary = base.embed_tokens, base.norm, base.rotary_emb
        self.lm_head = model.get_output_embeddings()
        self.trunk = nn.ModuleList(list(base.layers)[: -config.heads_depth])
        self.heads = heads
        self.bridge: Bridge | None = None
        self.eos_ids = eos_ids(model)
        self.max_positions: int = positions_of(model.config.to_dict()) or 0
        self._caches: list[StackCache] | None = None
        self._positions: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_target(
        cls, model: Any, config: HydraConfig, heads: Heads = "target", bridge: Path | None = None
    ) -> HydraTransformer:
        """Split a target; it is put into eval mode, without gradients.

        Args:
            model: a Llama or OLMo 2 causal language model of transformers, trained or not.
            heads: "target" (its last layers), "random" (its init, torch's global generator), or a
                safetensors file per head (:mod:`proposers.hydra.weights`).
            bridge: safetensors file of a :class:`proposers.hydra.bridge.Bridge`.

        Raises:
            ValueError: in one line.
        """
        check_target(model)
        config.check_layers(model.config.num_hidden_layers)
        made = cls(model, config, make_heads(model, config, heads))
        if bridge is not None:
            like = made.embedding.weight
            made.bridge = load_bridge(Path(bridge), like.shape[1]).to(like.device, like.dtype)
        made.eval().requires_grad_(False)
        return made

    @property
    def n_heads(self) -> int:
        return self.config.n_heads

    @property
    def device(self) -> torch.device:
        device: torch.device = self.embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.embedding.weight.dtype
        return dtype

    def forward(self, input_ids: Tensor, last_token_only: bool = False) -> Tensor:
        """``hydra_naive``: all heads in series, their logits averaged.

        Args:
            input_ids: ``[B, T]``.

        Returns:
            ``[B, T, V]``; with ``last_token_only`` ``[B, 1, V]``.
        """
        states = self._all_states(input_ids, range(self.n_heads), last_token_only)
        return self.mean_logits(states)

    def residual_forward(
        self,
        input_ids: Tensor,
        heads: Sequence[int] | None = None,
        last_token_only: bool = False,
    ) -> Tensor:
        """Each head's logits ``[N, B, T or 1, V]`` over one run of the trunk.

        Args:
            heads: which, in this order; None: all.
        """
        chosen = range(self.n_heads) if heads is None else heads
        return self.logits(torch.stack(self._all_states(input_ids, chosen, last_token_only)))

    def trunk_forward(self, input_ids: Tensor) -> Tensor:
        """``[B, T]`` tokens to the trunk's hidden states ``[B, T, H]``."""
        cache = None if self._caches is None else self._caches[0]
        return self._run(self.trunk, self.embedding(input_ids), cache)

    def head_forward(self, index: int, hidden: Tensor, last_token_only: bool = False) -> Tensor:
        """One head's logits ``[B, T or 1, V]`` from trunk states ``[B, T, H]``."""
        return self.logits(_rows(self.head_states(index, hidden), last_token_only))

    def head_states(self, index: int, hidden: Tensor) -> Tensor:
        """The last layer's output of a head, before the norm: ``[B, T, H]``."""
        cache = None if self._caches is None else self._caches[1 + index]
        return self._run(self.heads[index], hidden, cache)

    def logits(self, states: Tensor) -> Tensor:
        """Norm and LM head: ``[..., H]`` to ``[..., V]``."""
        logits: Tensor = self.lm_head(self.norm(states))
        return logits

    def mean_logits(self, states: Sequence[Tensor]) -> Tensor:
        """Mean of the logits ``[..., V]`` of several heads' states ``[..., H]``.

        The LM head is linear, so it is applied once, to the mean of the normed states.
        """
        mean = torch.stack([self.norm(state) for state in states]).mean(0)
        logits: Tensor = self.lm_head(mean)
        return logits

    def guess(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Trunk states ``[B, T, H]`` that nobody computed, from a head's own and the next tokens.

        Args:
            states: ``[B, T, H]`` a head's output at the position before.
            tokens: ``[B, T]``.
        """
        embedded: Tensor = self.embedding(tokens)
        if self.bridge is None:
            return states + embedded
        guessed: Tensor = self.bridge(states, embedded)
        return guessed

    def init_kv_cache(self, batch_size: int, max_length: int) -> None:
        """Allocate caches of ``max_length`` tokens for the trunk and every head.

        Raises:
            ValueError: in one line, past the target's positions.
        """
        if not 1 <= max_length <= self.max_positions:
            raise ValueError(
                f"a KV cache of {max_length} tokens: expected 1 to {self.max_positions}, the"
                " target's max_position_embeddings; shorten prompt or answer"
            )
        shape, like = kv_shape(self.target_config, batch_size, max_length), self.embedding.weight
        stacks = [(0, len(self.trunk))]
        stacks += [(len(self.trunk), self.config.heads_depth)] * self.n_heads
        with torch.inference_mode(False):  # so that they can be written in any mode
            self._caches = [StackCache(first, depth, shape, like) for first, depth in stacks]
            self._positions = self._table(0, max_length)

    def fits(self, batch_size: int, max_length: int) -> bool:
        """Whether the caches are there and as large as that."""
        if self._caches is None:
            return False
        storage = self._caches[0].storage
        return storage.shape[2] == batch_size and storage.shape[-2] >= max_length

    def reset_kv_cache(self) -> None:
        """Forget all tokens; the memory is kept."""
        self.roll_back(0)

    def drop_kv_cache(self) -> None:
        """Free the caches: a forward is a whole context again."""
        self._caches = self._positions = None

    def roll_back(
        self, length: int, trunk: bool = True, heads: Sequence[int] | None = None
    ) -> None:
        """Keep at most the first ``length`` tokens of the trunk and of ``heads`` (None: all)."""
        chosen = range(self.n_heads) if heads is None else heads
        for cache in [self.caches[0]] * trunk + [self.caches[1 + i] for i in chosen]:
            cache.roll_back(length)

    @property
    def caches(self) -> list[StackCache]:
        """The trunk's cache, then each head's."""
        if self._caches is None:
            raise ValueError("there are no KV caches; call init_kv_cache first")
        return self._caches

    @property
    def trunk_length(self) -> int:
        return self.caches[0].length

    @property
    def head_lengths(self) -> list[int]:
        return [cache.length for cache in self.caches[1:]]

    def _all_states(
        self, input_ids: Tensor, heads: Sequence[int], last_token_only: bool
    ) -> list[Tensor]:
        """The trunk once, then each head, which must stand where the trunk stands."""
        if self._caches is not None:
            self._check_lengths(heads)
        hidden = self.trunk_forward(input_ids)
        return [_rows(self.head_states(i, hidden), last_token_only) for i in heads]

    def _check_lengths(self, heads: Sequence[int]) -> None:
        lengths = self.head_lengths
        if wrong := [i for i in heads if lengths[i] != self.trunk_length]:
            raise ValueError(
                f"head {wrong[0]} holds {lengths[wrong[0]]} tokens and the trunk"
                f" {self.trunk_length}; roll_back both to one length first"
            )

    def _run(self, layers: Any, hidden: Tensor, cache: StackCache | None) -> Tensor:
        rows, start = hidden.shape[1], 0
        if cache is not None:
            cache.check_room(hidden.shape[0], rows)
            start = cache.length
        positions = self._rotate(start, rows)
        mask = causal_mask(self.target_config._attn_implementation, start, hidden)
        for layer in layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                position_embeddings=positions,
                past_key_values=cache,
            )
        if cache is not None:
            cache.advance(rows)
        return hidden

    def _rotate(self, start: int, rows: int) -> tuple[Tensor, Tensor]:
        """Rotary cosines and sines ``[1, rows, d]``; with caches a view of a table."""
        if self._positions is not None:
            cos, sin = (table[:, start : start + rows] for table in self._positions)
            return cos, sin
        return self._table(start, rows)

    def _table(self, start: int, rows: int) -> tuple[Tensor, Tensor]:
        ids = torch.arange(start, start + rows, device=self.device)[None]
        rotated: tuple[Tensor, Tensor] = self.rotary(self.embedding.weight, ids)
        return rotated


def _rows(states: Tensor, last_token_only: bool) -> Tensor:
    return states[:, -1:] if last_token_only else states
