"""A GLIDE draft's forwards in few kernels, on a GPU: 22 launches for a level of one block.

Products are PyTorch's, of weights that were joined when the draft was built; what lies between them
is :mod:`.fused_triton`, :mod:`.rotary_triton` and :mod:`.window_triton`. Nothing is read back, and
shapes depend on options alone, so a step may lie in a graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import kernels
from ..rotary import Rotary
from ..sharding import Shard
from . import fused_triton as ops
from . import rotary_triton
from .config import GlideConfig
from .layer import Block, CrossAttend, GlideLayer
from .rows import Rows
from .window import SelfAttentionWindow
from .window_triton import window_attention


class FusedGlide:
    """The weights of a draft, joined where one product can do, and a forward; of any rank's part.

    Args:
        layer: not packed; where weights are joined it goes on with views of them.
        head: ``[Vd, H]``, the final norm's weight folded in.
    """

    masked = False
    """Whether rows come with a mask, or else with paths."""

    def __init__(
        self,
        config: GlideConfig,
        layer: GlideLayer,
        embedding: Tensor,
        head: Tensor,
        rotary: Rotary,
        shard: Shard,
    ) -> None:
        self.config, self.embedding, self.head, self.shard = config, embedding, head, shard
        self.rotary = rotary
        self.blocks = [_Block(block, config, shard) for block in layer.blocks()]
        mixing = layer.hidden_proj
        self.hidden_proj: Tensor | None = None if mixing is None else mixing.weight
        own = [block.input_norm for block in self.blocks]
        self.norms = torch.stack([*own, torch.ones_like(own[0])])

    @classmethod
    def of(
        cls,
        config: GlideConfig,
        layer: GlideLayer,
        embedding: Tensor,
        head: Tensor,
        rotary: Rotary,
        shard: Shard,
    ) -> FusedGlide | None:
        """None where there is no GPU, or no Triton for it."""
        if not kernels.runs_on(embedding.device):
            return None
        return cls(config, layer, embedding, head, rotary, shard)

    def takes(self, rows: int, static: bool) -> bool:
        """It takes all."""
        return True

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = rotary_triton.tables(self.rotary.frequencies, positions)
        if self.rotary.scale != 1.0:
            return cos * self.rotary.scale, sin * self.rotary.scale
        return cos, sin

    def fill(
        self, window: SelfAttentionWindow, slots: Tensor, tokens: Tensor, positions: Tensor
    ) -> None:
        """Write the keys and values of tokens ``[n]`` at ``positions`` into the rings ``slots``."""
        entries = (positions % window.capacity)[:, None]
        rows = Rows(tokens[:, None], *self.tables(positions), slots, entries)
        x = ops.norms(self._embed(rows), self.norms[:-1], None, self._eps).unbind(1)
        for block, ring, own in zip(self.blocks, self._rings(window), x, strict=True):
            block.put(block.keys_values(own), rows, ring)

    def forward(
        self, rows: Rows, window: SelfAttentionWindow, cross_attend: CrossAttend
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[B, width, Vd]``, the draft's temperature applied, and their log-sum-exps.

        The latter are ``[B, width, 1]``.
        """
        state, x = self._input(rows)
        for index, (block, ring) in enumerate(zip(self.blocks, self._rings(window), strict=True)):
            state = block.see_window(state, x[index], rows, ring)
            state = block.see_target(state, rows, cross_attend)
            state = block.finish(state, self._norm_after(index))
        plain = state.total if not self.config.final_norm else state.normed
        logits, sums = ops.log_sums(F.linear(plain, self.head), self.config.temperature)
        shape = rows.tokens.shape
        return logits.view(*shape, -1), sums.view(*shape, 1)

    @property
    def _eps(self) -> float:
        return self.config.target.rms_norm_eps

    def _norm_after(self, index: int) -> Tensor | None:
        """The next block's; the final norm's weight is in the head."""
        return self.norms[index + 1] if index + 1 < len(self.blocks) else None

    def _embed(self, rows: Rows) -> Tensor:
        return self.shard.rows(self.embedding, rows.tokens).flatten(0, 1)

    def _input(self, rows: Rows) -> tuple[_State, tuple[Tensor, ...]]:
        """The first block's input (:meth:`.layer.GlideLayer.fuse`), and embeddings normed for each
        block."""
        x = self._embed(rows)
        if self.hidden_proj is None or rows.states is None:
            own = ops.norms(x, self.norms[:-1], None, self._eps).unbind(1)
            return _State(x, own[0]), own
        parts = ops.norms(x, self.norms, rows.states.to(x.dtype), self._eps)
        mixed = F.linear(parts[:, -2:].flatten(1), self.hidden_proj)
        return _State(*ops.add_norm(x, mixed, self.norms[0], self._eps)), parts.unbind(1)

    def _rings(self, window: SelfAttentionWindow) -> tuple[Tensor, ...]:
        return window.ring.chunk(len(self.blocks), dim=2)


@dataclass(frozen=True)
class _State:
    """Rows between two sublayers, ``[n, H]``: the sum of all so far, and it normed for the next."""

    total: Tensor
    normed: Tensor


class _Block:
    """A block's weights and sublayers; q, k and v lie one below the other, and so do gate and up.

    A ring is the block's own part of all, ``[2, S, kv_heads, entries, d]``.
    """

    def __init__(self, block: Block, config: GlideConfig, shard: Shard) -> None:
        own, cross, mlp = block.self_attn, block.cross_attn, block.mlp
        self.config, self.summed = config, shard.all_reduce
        self.qkv, self.bias = _joined(own.q_proj, own.k_proj, own.v_proj)
        self.q_size = own.q_proj.weight.shape[0]
        self.gate_up, _ = _joined(mlp.gate_proj, mlp.up_proj)
        self.cross_q, self.cross_bias = cross.q_proj.weight, cross.q_proj.bias
        projections = (own.o_proj, cross.o_proj, mlp.down_proj)
        self.o, self.cross_o, self.down = (part.weight for part in projections)
        self.input_norm = block.input_layernorm.weight
        self.cross_norm = block.post_self_attention_layernorm.weight
        self.mlp_norm = block.post_cross_attention_layernorm.weight

    def see_window(self, state: _State, x: Tensor, rows: Rows, ring: Tensor) -> _State:
        """Self-attention; the keys of the rows, from normed embeddings ``x``, go into the ring."""
        assert rows.paths is not None
        query, keys_values = self._projected(state.normed, x, rows.entries is not None)
        if keys_values is not None:
            self.put(keys_values, rows, ring)
        query = self._turned(query, rows)
        seen = window_attention(query, ring, rows.slots, rows.paths, self.config.window)
        return self._added(state, F.linear(seen, self.o), self.cross_norm)

    def see_target(self, state: _State, rows: Rows, cross_attend: CrossAttend) -> _State:
        """Cross-attention."""
        query = F.linear(state.normed, self.cross_q, self.cross_bias)
        seen = cross_attend(self._turned(query, rows)).reshape(len(query), -1)
        return self._added(state, F.linear(seen, self.cross_o), self.mlp_norm)

    def finish(self, state: _State, norm: Tensor | None) -> _State:
        """SwiGLU; the sum is normed by the weight ``norm``."""
        inner = ops.gated(F.linear(state.normed, self.gate_up))
        return self._added(state, F.linear(inner, self.down), norm)

    def keys_values(self, x: Tensor) -> Tensor:
        """``[n, 2 * kv_heads * d]`` from normed embeddings ``[n, H]``, not rotated."""
        return self._product(x, slice(self.q_size, None))

    def put(self, keys_values: Tensor, rows: Rows, ring: Tensor) -> None:
        """Write what :meth:`keys_values` gives."""
        assert rows.entries is not None
        rotary_triton.put(keys_values, ring, rows.cos, rows.sin, rows.slots, rows.entries)

    def _projected(self, h: Tensor, x: Tensor, new_keys: bool) -> tuple[Tensor, Tensor | None]:
        size = self.q_size
        if new_keys and h is x:  # the input is the embedding alone
            both = self._product(x, slice(None))
            return both[:, :size], both[:, size:]
        return self._product(h, slice(size)), self.keys_values(x) if new_keys else None

    def _product(self, x: Tensor, part: slice) -> Tensor:
        return F.linear(x, self.qkv[part], None if self.bias is None else self.bias[part])

    def _turned(self, query: Tensor, rows: Rows) -> Tensor:
        return rotary_triton.turned(query, rows.cos, rows.sin, rows.tokens.shape[1])

    def _added(self, state: _State, summand: Tensor, norm: Tensor | None) -> _State:
        eps = self.config.target.rms_norm_eps
        return _State(*ops.add_norm(state.total, self.summed(summand), norm, eps))


def _joined(*linears: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of several products as one's; the weights go on as views of it."""
    sizes = [linear.weight.shape[0] for linear in linears]
    weight = torch.cat([linear.weight for linear in linears])
    for linear, part in zip(linears, weight.split(sizes), strict=True):
        linear.weight.data = part
    biased = linears[0].bias is not None
    return weight, torch.cat([linear.bias for linear in linears]) if biased else None
