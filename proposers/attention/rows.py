"""Which rows of a step are whose: what the kernels over many requests' ragged trees read."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PagedRows:
    """Which rows of a step belong to which request, and what they see; all on the device.

    Attributes:
        width: the most rows of a request.
        first: ``[B]`` int32, a request's first row.
        counts: ``[B]`` int32, how many of its rows count; 0: none.
        prefix: ``[B]`` int32, tokens that all of its rows see.
        table: ``[B, T]`` int32, its pages.
        slots: ``[B]`` int64, its line of ``mask``.
        mask: ``[S, width, width]`` uint8: row sees row, both behind the prefix; None: rows see the
            prefix alone.
    """

    width: int
    first: Tensor
    counts: Tensor
    prefix: Tensor
    table: Tensor
    slots: Tensor
    mask: Tensor | None
