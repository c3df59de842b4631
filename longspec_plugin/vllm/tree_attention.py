"""Tree rows behind the name of a stock attention backend, the same for every runner and device.

Why: stock backends are causal among a request's own rows. How: a step's metadata carries the tree
rows as ``longspec``; the stock pass computes the others, or is left out where there are none.
Upstream: no backend of 0.32/0.33 takes a mask between query rows from its metadata. It can go when
one does.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class TreeStep(Protocol):
    """One step's tree rows, shared by all layers.

    Attributes:
        only_trees: whether these are all of the step's rows.
    """

    @property
    def only_trees(self) -> bool: ...

    def attend(self, query: Tensor, cache: Tensor, output: Tensor, scale: float) -> None:
        """Write the tree rows of ``output``; shapes as in the stock implementation."""
        ...


class TreeAttentionImpl:
    """Mixed in before a stock implementation."""

    scale: float

    def forward(
        self,
        layer: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kv_cache: Tensor,
        attn_metadata: Any,
        output: Tensor,
        output_scale: Tensor | None = None,
        output_block_scale: Tensor | None = None,
    ) -> Tensor:
        """Arguments and result as in the stock implementation."""
        step: TreeStep | None = getattr(attn_metadata, "longspec", None)
        if step is None or not step.only_trees:
            super().forward(  # type: ignore[misc]
                layer,
                query,
                key,
                value,
                kv_cache,
                attn_metadata,
                output,
                output_scale,
                output_block_scale,
            )
        if step is not None:
            step.attend(query, kv_cache, output, self.scale)
        return output
