"""Tree rows behind the name of a stock attention backend, the same for every runner and device.

Why: stock backends are causal among a request's own rows. How: a step's metadata carries the tree
rows as ``longspec``; the stock pass computes the others, or is left out where there are none.
Upstream: no backend of 0.32/0.33 takes a mask between query rows from its metadata. It can go when
one does.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from ..errors import LongSpecError
from .backends import check_impl


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
        self.write(layer, key, value, kv_cache, attn_metadata)
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

    def write(
        self, layer: Any, key: Tensor, value: Tensor, kv_cache: Tensor, attn_metadata: Any
    ) -> None:
        """Put the rows' keys and values into the cache; as a rule vLLM has done so before."""


def take_the_place_of(name: str, backend: type) -> None:
    """Register ``backend`` over the stock one called ``name``, in this process.

    vLLM remembers which class it chose; an engine without trees may have run here before.
    """
    from vllm.v1.attention import selector
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend

    path = f"{backend.__module__}.{backend.__qualname__}"
    register_backend(AttentionBackendEnum[name], path)
    selector._cached_get_attn_backend.cache_clear()


def check_layers(vllm_config: Any) -> None:
    """Refuse to serve if attention is computed by another implementation: it knows no mask. Or by
    one that does more than our kernels do."""
    from vllm.config import get_layers_from_vllm_config
    from vllm.model_executor.layers.attention import Attention

    for name, layer in get_layers_from_vllm_config(vllm_config, Attention).items():
        if not isinstance(layer.impl, TreeAttentionImpl):
            raise LongSpecError(
                f"attention of {name} is computed by {type(layer.impl).__name__}, which knows no"
                " tree mask; leave --attention-backend out"
            )
        check_impl(name, layer.impl)
