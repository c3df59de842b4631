"""Finding the target's last attention layer, the one whose KV a GLIDE draft reads."""

from __future__ import annotations

from typing import Any

from vllm.config import get_layers_from_vllm_config
from vllm.model_executor.layers.attention import Attention


def last_attention_layer(vllm_config: Any) -> str:
    """Its name in vLLM's forward context."""
    name: str = max(get_layers_from_vllm_config(vllm_config, Attention), key=_number)
    return name


def _number(name: str) -> int:
    return max(int(part) for part in name.split(".") if part.isdigit())
