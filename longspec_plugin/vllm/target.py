"""What a draft borrows of vLLM's model: its weights, and the KV of its last attention layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from vllm.config import get_layers_from_vllm_config
from vllm.distributed import get_tp_group
from vllm.model_executor.layers.attention import Attention

from proposers.base import TargetModel
from proposers.sharding import WHOLE, Shard

from ..errors import LongSpecError
from .gates import target_shape


def last_attention_layer(vllm_config: Any) -> str:
    """Its name in vLLM's forward context."""
    name: str = max(get_layers_from_vllm_config(vllm_config, Attention), key=_number)
    return name


def _number(name: str) -> int:
    return max(int(part) for part in name.split(".") if part.isdigit())


def target_model(model: Any, config: Any) -> TargetModel:
    """Embedding, head and final norm of vLLM's model; all three are used as they lie in memory.

    Under tensor parallelism vLLM pads the vocabulary and gives each rank as many rows, in order.
    """
    shape = target_shape(config)
    inner: Any = getattr(model, "model", model)
    try:
        embedding = inner.embed_tokens.weight
        head = model.lm_head.weight
        norm = inner.norm.weight
    except AttributeError as error:
        raise LongSpecError(
            f"the target {type(model).__name__} keeps its weights elsewhere ({error});"
            " allowed: Llama-like decoder models"
        ) from error
    if head.numel() == 0:
        raise LongSpecError(
            "vLLM has packed the target's output head and dropped the original;"
            " serve a model with tied embeddings, or use proposer 'prompt_lookup'"
        )
    part = shard()
    if part.size == 1:
        embedding, head = embedding[: shape.vocab_size], head[: shape.vocab_size]
    return TargetModel(shape, embedding.detach(), head.detach(), norm.detach(), shard=part)


def shard() -> Shard:
    """This process's part of the target, and vLLM's own collectives among its ranks."""
    group = get_tp_group()
    if group.world_size == 1:
        return WHOLE

    def all_gather(values: Tensor) -> Tensor:
        gathered: Tensor = group.all_gather(values[None], dim=0)
        return gathered

    return Shard(group.rank_in_group, group.world_size, group.all_reduce, all_gather)
