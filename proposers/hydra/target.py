"""What a Hydra needs to know of a transformers target."""

from __future__ import annotations

from typing import Any

from torch import Tensor, finfo

MODEL_TYPES = ("llama", "olmo2")


def check_target(model: Any) -> None:
    """Refuse other architectures, and positions that turn with the context's length.

    Raises:
        ValueError: in one line.
    """
    kind = model.config.model_type
    if kind not in MODEL_TYPES:
        raise ValueError(
            f"a Hydra takes a target of model_type {' or '.join(MODEL_TYPES)}, not {kind!r}"
        )
    rope = getattr(model.base_model.rotary_emb, "rope_type", "default")
    if rope in ("dynamic", "longrope"):
        raise ValueError(f"rope_type={rope!r} depends on the context's length; not supported")


def eos_ids(model: Any) -> tuple[int, ...]:
    """Of its generation configuration, else of its configuration."""
    found = getattr(model.generation_config, "eos_token_id", None)
    ids = model.config.eos_token_id if found is None else found
    return () if ids is None else tuple(ids) if isinstance(ids, list) else (ids,)


def kv_shape(config: Any, batch: int, length: int) -> tuple[int, ...]:
    """``(B, kv_heads, length, d)``."""
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return batch, getattr(config, "num_key_value_heads", None) or heads, length, dim


def causal_mask(attention: str, past: int, hidden: Tensor) -> Tensor | None:
    """Additive ``[1, 1, T, past + T]``; None where the attention is causal without one.

    transformers' sdpa aligns its own causal mask with the first key, which is wrong behind a past;
    flash attention aligns it with the last.
    """
    rows = hidden.shape[1]
    if rows == 1 or "flash" in attention or (attention == "sdpa" and past == 0):
        return None
    least = finfo(hidden.dtype).min
    return hidden.new_full((1, 1, rows, past + rows), least).triu(past + 1)
