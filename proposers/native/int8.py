"""Weights as the kernels of :file:`int8.h` read them."""

from __future__ import annotations

import torch
from torch import Tensor

OUTPUTS, INPUTS = 16, 8
"""Weights ``[out, in]`` are taken whose sizes are multiples of these."""


def takes(weight: Tensor) -> bool:
    return weight.shape[0] % OUTPUTS == 0 and weight.shape[1] % INPUTS == 0


def in_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights ``[out, in]`` rounded to 8 bits, symmetric, with a scale an output.

    Returns:
        ``[out / 16, in / 4, 16, 4]`` uint8, 128 too large, and scales ``[out]`` float32.
    """
    rows = weight.detach().float()
    scales = rows.abs().amax(1).clamp(min=1e-20) / 127
    whole = (rows / scales[:, None]).round().clamp(-127, 127) + 128
    packed = whole.to(torch.uint8).view(len(rows) // OUTPUTS, OUTPUTS, -1, 4)
    return packed.transpose(1, 2).contiguous(), scales
