"""The rows of one draft forward, as kernels are given them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .window_triton import Paths


@dataclass(frozen=True)
class Rows:
    """``width`` rows of each of ``B`` requests, all at one depth.

    Attributes:
        tokens: ``[B, width]``.
        cos, sin: ``[B, head_dim]`` float32.
        slots: ``[B]`` rings of the window.
        entries: ``[B, width]`` ring entries for the rows' own keys; None: they are there already.
        states: ``[B, H]`` the target's last hidden states, or None.
        mask: ``[B, width, seen]`` bool, what rows see of the ring and of the nodes behind it; or
        paths: the same for kernels that need no mask.
    """

    tokens: Tensor
    cos: Tensor
    sin: Tensor
    slots: Tensor
    entries: Tensor | None = None
    states: Tensor | None = None
    mask: Tensor | None = None
    paths: Paths | None = None
