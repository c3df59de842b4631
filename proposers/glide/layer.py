"""The GLIDE layer (LongSpec, arXiv 2502.17421, section 3.1; GLIDE, arXiv 2402.02082).

``a = h + SA(RMS1(h)); b = a + CA(RMS2(a)); y = b + SwiGLU(RMS3(b))`` where SA is sliding-window
self-attention and CA attends, with a query projection only, to the target's last-layer cache as it
is stored. How keys and values are kept is the caller's business: attention comes in as functions,
so that training, servers and the offline engine run the same layer.

Beyond the paper, ``hidden_state_input`` makes the layer's input
``h = x + W [RMS(x); RMS(s)]`` with ``s`` the target's last hidden state at the last verified token
(``W`` is zero at the start). Self-attention's keys and values are made from the plain embedding
``x`` all the same, so they depend on token and position alone.

A second block (``num_layers: 2``) goes over the first one's output. Its self-attention's keys and
values are made from ``x`` too, by its own norm and projections, so the window of both blocks can
always be recomputed from token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sharding import WHOLE, Collective
from .config import GlideConfig

SelfAttend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""From q ``[..., heads, d]``, the rows' own k and v ``[..., kv_heads, d]`` and the block, 0 or 1,
whose they are, to q's shape."""
CrossAttend = Callable[[Tensor], Tensor]
"""From q ``[..., heads, d]`` to ``[..., heads, d]``."""


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``[..., heads, d]`` by tables ``[..., d]`` (RoPE, half-rotation form)."""
    left, right = x.chunk(2, dim=-1)
    turned = torch.cat([-right, left], dim=-1)
    return x * cos[..., None, :] + turned * sin[..., None, :]


class Attention(nn.Module):
    """Projections of one attention; ``cross`` has no use for k and v."""

    def __init__(self, config: GlideConfig, cross: bool) -> None:
        super().__init__()
        target, bias = config.target, config.attention_bias
        self.head_dim = target.head_dim
        width = target.num_attention_heads * target.head_dim
        kv_width = target.num_key_value_heads * target.head_dim
        self.q_proj = nn.Linear(target.hidden_size, width, bias=bias)
        if not cross:
            self.k_proj = nn.Linear(target.hidden_size, kv_width, bias=bias)
            self.v_proj = nn.Linear(target.hidden_size, kv_width, bias=bias)
        self.o_proj = nn.Linear(width, target.hidden_size, bias=False)

    def heads(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (-1, self.head_dim))


class GatedMLP(nn.Module):
    """SwiGLU."""

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One decoder layer; its parameters' names are those of the published checkpoints.

    Attributes:
        summed: from this process's summand of a sublayer's output to the whole.
    """

    summed: Collective = staticmethod(WHOLE.all_reduce)

    def __init__(self, config: GlideConfig, index: int = 0) -> None:
        super().__init__()
        self.index = index
        hidden, eps = config.target.hidden_size, config.target.rms_norm_eps
        self.self_attn = Attention(config, cross=False)
        self.cross_attn = Attention(config, cross=True)
        self.mlp = GatedMLP(hidden, config.target.intermediate_size)
        self.input_layernorm = nn.RMSNorm(hidden, eps)
        self.post_self_attention_layernorm = nn.RMSNorm(hidden, eps)
        self.post_cross_attention_layernorm = nn.RMSNorm(hidden, eps)

    def keys_values(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Self-attention's rotated K and V of embeddings ``x``: ``[..., kv_heads, d]`` each."""
        normed = self.input_layernorm(x)
        attention = self.self_attn
        keys = attention.heads(attention.k_proj(normed))
        return rotate(keys, cos, sin), attention.heads(attention.v_proj(normed))

    def advance(
        self,
        x: Tensor,
        h: Tensor,
        cos: Tensor,
        sin: Tensor,
        self_attend: SelfAttend,
        cross_attend: CrossAttend,
    ) -> Tensor:
        """From embeddings ``x`` and the block's input ``h`` to its output, ``[..., H]`` each."""
        own = self.keys_values(x, cos, sin)
        query = _query(self.self_attn, self.input_layernorm(h), cos, sin)
        seen = self_attend(query, *own, self.index).flatten(-2)
        a = h + self.summed(self.self_attn.o_proj(seen))
        query = _query(self.cross_attn, self.post_self_attention_layernorm(a), cos, sin)
        seen = cross_attend(query).flatten(-2)
        b = a + self.summed(self.cross_attn.o_proj(seen))
        return b + self.summed(self.mlp(self.post_cross_attention_layernorm(b)))


class GlideLayer(Block):
    """The draft's blocks over any leading shape ``[...]`` of rows.

    It is the first block itself, as published; a second one lies under ``more.0``, and
    ``hidden_proj`` is ours.
    """

    def __init__(self, config: GlideConfig) -> None:
        super().__init__(config)
        hidden = config.target.hidden_size
        self.more = nn.ModuleList(Block(config, i) for i in range(1, config.num_layers))
        self.hidden_proj: nn.Linear | None = None
        if config.hidden_state_input:
            self.hidden_proj = nn.Linear(2 * hidden, hidden, bias=False)
            nn.init.zeros_(self.hidden_proj.weight)

    def blocks(self) -> Iterator[Block]:
        """The first block, then the second where there is one."""
        yield self
        for block in self.more:
            assert isinstance(block, Block)
            yield block

    def fuse(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        """The layer's input ``h`` from embeddings ``x`` and target states, both ``[..., H]``."""
        if self.hidden_proj is None or hidden is None:
            return x
        size, eps = x.shape[-1:], self.input_layernorm.eps
        both = torch.cat([F.rms_norm(x, size, eps=eps), F.rms_norm(hidden, size, eps=eps)], dim=-1)
        return x + self.hidden_proj(both)

    def self_kv(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """All blocks' self-attention K and V of ``x``: ``[..., num_layers * kv_heads, d]`` each.

        ``chunk(num_layers, dim=-2)`` tells them apart again.
        """
        if not self.more:
            return self.keys_values(x, cos, sin)
        keys, values = zip(*(b.keys_values(x, cos, sin) for b in self.blocks()), strict=True)
        return torch.cat(keys, dim=-2), torch.cat(values, dim=-2)

    def forward(
        self,
        x: Tensor,
        fused: Tensor,
        cos: Tensor,
        sin: Tensor,
        self_attend: SelfAttend,
        cross_attend: CrossAttend,
    ) -> Tensor:
        """The last block's output ``[..., H]``.

        Args:
            x: ``[..., H]`` embeddings of the rows' tokens.
            fused: ``[..., H]`` from :meth:`fuse`.
            cos, sin: ``[..., head_dim]`` at the rows' absolute positions.
        """
        y = fused
        for block in self.blocks():
            y = block.advance(x, y, cos, sin, self_attend, cross_attend)
        return y


def _query(attention: Attention, normed: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return rotate(attention.heads(attention.q_proj(normed)), cos, sin)
