"""A GLIDE layer with its weights packed, for drafting on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..packed import PackedLinear, pack_linears, packable
from .layer import GatedMLP, GlideLayer


def pack(layer: GlideLayer) -> GlideLayer:
    """Replace the linears of a layer that is only used for inference."""
    if packable(layer.self_attn.q_proj.weight):
        for block in layer.blocks():
            block.mlp = PackedGatedMLP(block.mlp)  # type: ignore[assignment]
        pack_linears(layer)
    return layer


class PackedGatedMLP(nn.Module):
    """SwiGLU with gate and up projections in one product."""

    def __init__(self, mlp: GatedMLP) -> None:
        super().__init__()
        both = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        self.gate_up = PackedLinear(both)
        self.down = PackedLinear(mlp.down_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
