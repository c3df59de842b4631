"""A GLIDE draft's forwards in :file:`native/glide.cpp`, for a handful of rows on a CPU.

At one or two rows a level, dispatching PyTorch's operators costs as much as their work. Where the
processor multiplies bytes (AVX-512 VNNI) or words (AVX2), its weights are rounded to 8 bits: half
as much to read, or a quarter, and many more rows are quicker than by a library. Answers stay the
target's. How much it saves: ``python -m recipes.train.drafting``.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import native
from ..native import int8
from ..rotary import Rotary
from ..sharding import Shard
from .config import GlideConfig
from .layer import Attention, Block, CrossAttend, GlideLayer
from .rows import Rows
from .window import SelfAttentionWindow

SOURCE = Path(native.__file__).with_name("glide.cpp")
LANES = 16
"""Sizes that inner loops run over are multiples of this."""


def _pointers(names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_void_p) for name in names.split()]


def _numbers(names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_int64) for name in names.split()]


class _Linear(ctypes.Structure):
    _fields_ = _pointers("weight scale bias") + _numbers("out in_")


class _Block(ctypes.Structure):
    _fields_ = _pointers("self_norm cross_norm mlp_norm") + [
        (name, _Linear) for name in ("q", "k", "v", "o", "cross_q", "cross_o", "gate_up", "down")
    ]


class _Draft(ctypes.Structure):
    _fields_ = [
        ("blocks", _Block * 2),
        ("hidden_proj", _Linear),
        ("head", _Linear),
        *_pointers("embedding"),
        *_numbers("num_layers hidden heads kv_heads head_dim final_norm"),
        ("eps", ctypes.c_float),
        ("temperature", ctypes.c_float),
    ]


class _Step(ctypes.Structure):
    _fields_ = (
        _pointers("tokens states cos sin keys values slots entries mask query attended")
        + _pointers("logits log_sums work")
        + _numbers("batch width seen slot_stride head_stride")
    )


class NativeGlide:
    """The weights of a draft, as they lie in memory, and a forward in two calls a block.

    Args:
        in_bytes: round weights to 8 bits.
        layer: not packed.
        head: ``[Vd, H]``, the final norm's weight folded in.
    """

    masked = True
    most_rows, most_alone = 4, 512
    """Rows above which a library's matrix products are faster; and above which they take less room,
    where none are: in bytes, and in bfloat16 on processors that have none (AVX2)."""

    def __init__(
        self,
        library: ctypes.CDLL,
        in_bytes: bool,
        config: GlideConfig,
        layer: GlideLayer,
        embedding: Tensor,
        head: Tensor,
        rotary: Rotary,
    ) -> None:
        self.rotary, self.in_bytes = rotary, in_bytes
        slow = embedding.dtype == torch.bfloat16 and not native.multiplies_bfloat16()
        self.most_rows = self.most_alone if in_bytes or slow else self.most_rows
        self.config, self.vocabulary_size = config, head.shape[0]
        self.dtype, name = embedding.dtype, native.DTYPES[embedding.dtype]
        self.functions = {f: getattr(library, f"glide_{f}_{name}") for f in _FUNCTIONS}
        self.kept: list[Tensor] = [embedding]
        """What the pointers point to."""
        target = config.target
        heads, kv = target.num_attention_heads, target.num_key_value_heads
        blocks = (_Block * 2)(*(self._block(block) for block in layer.blocks()))
        fused = layer.hidden_proj
        sizes = (config.num_layers, target.hidden_size, heads, kv, target.head_dim)
        self.draft = _Draft(
            blocks,
            self._linear(fused.weight) if fused is not None else _Linear(),
            self._linear(head),
            embedding.data_ptr(),
            *sizes,
            config.final_norm,
            target.rms_norm_eps,
            config.temperature,
        )
        work = 5 * target.hidden_size + (heads + 2 * kv) * target.head_dim
        self.work_size = work + 3 * target.intermediate_size

    @classmethod
    def of(
        cls,
        config: GlideConfig,
        layer: GlideLayer,
        embedding: Tensor,
        head: Tensor,
        rotary: Rotary,
        shard: Shard,
        rounded: bool | None = None,
    ) -> NativeGlide | None:
        """None where there is no kernel for this draft: several ranks, another device or dtype, odd
        sizes.

        Args:
            rounded: whether weights are rounded to 8 bits; None where that is quicker.
        """
        target = config.target
        if shard.size > 1:
            return None
        sizes = (target.hidden_size, target.intermediate_size, target.head_dim)
        if embedding.device.type != "cpu" or embedding.dtype not in native.DTYPES:
            return None
        if any(size % LANES for size in sizes) or not embedding.is_contiguous():
            return None
        library = native.library(SOURCE)
        if library is None:
            return None
        if rounded is None:
            rounded = bool(library.glide_int8())
        return cls(library, rounded, config, layer, embedding, head, rotary)

    def takes(self, rows: int, static: bool) -> bool:
        """Whether so many rows are few enough, of a step whose shapes are not to be fixed."""
        return rows <= self.most_rows and not static

    def tables(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rotary.tables(positions, torch.float32)

    def fill(
        self, window: SelfAttentionWindow, slots: Tensor, tokens: Tensor, positions: Tensor
    ) -> None:
        """Write the keys and values of tokens ``[n]`` at ``positions`` into the rings ``slots``."""
        entries = (positions % window.capacity)[:, None]
        rows = Rows(tokens[:, None], *self.tables(positions), slots, entries)
        step, _alive = self._step(rows, window)
        self._call("fill", step)

    def forward(
        self, rows: Rows, window: SelfAttentionWindow, cross_attend: CrossAttend
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[B, width, Vd]``, the draft's temperature applied, and their log-sum-exps.

        The latter are ``[B, width, 1]``.
        """
        step, alive = self._step(rows, window)
        query, logits, log_sums = alive[-3:]
        for block in range(self.config.num_layers):
            self._call("before", step, block)
            attended = cross_attend(query).contiguous()
            step.attended = attended.data_ptr()
            self._call("after", step, block)
        return logits, log_sums

    def _call(self, name: str, step: _Step, *block: int) -> None:
        draft, at = ctypes.byref(self.draft), ctypes.byref(step)
        self.functions[name](draft, at, *block, torch.get_num_threads())

    def _step(self, rows: Rows, window: SelfAttentionWindow) -> tuple[_Step, list[Tensor]]:
        """The struct, and the tensors that it points into; the last three are its results."""
        target, (batch, width) = self.config.target, rows.tokens.shape
        states = None if rows.states is None else rows.states.to(self.dtype).contiguous()
        work = torch.empty(batch * width * self.work_size)
        query = torch.empty(
            batch, width, target.num_attention_heads, target.head_dim, dtype=self.dtype
        )
        logits = torch.empty(batch, width, self.vocabulary_size if rows.mask is not None else 0)
        log_sums = torch.empty(batch, width, 1)
        keys, values = window.ring
        given = (rows.tokens.contiguous(), states, rows.cos.contiguous(), rows.sin.contiguous())
        held = (keys, values, rows.slots.contiguous(), _dense(rows.entries), _dense(rows.mask))
        alive = [*given, *held, query, logits, log_sums]
        pointers = [_pointer(t) for t in (*given, *held, query, None, logits, log_sums, work)]
        seen = 0 if rows.mask is None else rows.mask.shape[2]
        step = _Step(*pointers, batch, width, seen, keys.stride(0), keys.stride(1))
        return step, [work, *(t for t in alive if t is not None)]

    def _block(self, block: Block) -> _Block:
        own, cross, mlp = block.self_attn, block.cross_attn, block.mlp
        norms = (
            block.input_layernorm,
            block.post_self_attention_layernorm,
            block.post_cross_attention_layernorm,
        )
        both = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return _Block(
            *(self._floats(norm.weight) for norm in norms),
            *(self._of(own, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
            *(self._of(cross, name) for name in ("q_proj", "o_proj")),
            self._linear(both),
            self._linear(mlp.down_proj.weight),
        )

    def _of(self, attention: Attention, name: str) -> _Linear:
        linear = getattr(attention, name)
        return self._linear(linear.weight, linear.bias)

    def _linear(self, weight: Tensor, bias: Tensor | None = None) -> _Linear:
        shifts = None if bias is None else self._floats(bias)
        if self.in_bytes and int8.takes(weight):
            packed, scales = int8.in_bytes(weight)
            self.kept.append(packed)
            return _Linear(packed.data_ptr(), self._floats(scales), shifts, *weight.shape)
        stored = weight.detach().contiguous()
        self.kept.append(stored)
        return _Linear(stored.data_ptr(), None, shifts, *weight.shape)

    def _floats(self, weight: Tensor) -> int:
        self.kept.append(weight.detach().float().contiguous())
        return self.kept[-1].data_ptr()


_FUNCTIONS = ("before", "after", "fill")


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
