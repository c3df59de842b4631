"""Loading a target by path, and refusing in one line what the engine cannot run exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..base import TargetShape
from ..pretrained import load_causal_model
from ..rotary import RotaryConfig, keys_of
from .attention import NAME


def check_config(config: Any, model_types: Sequence[str], owner: str) -> None:
    """Refuse other architectures and sliding-window layers.

    Raises:
        ValueError: in one line that names the value, what is allowed and the fix.
    """
    if config.model_type not in model_types:
        raise ValueError(
            f"{owner} takes model_type {' or '.join(model_types)}, not {config.model_type!r};"
            " proposers.load_glide_model picks the class by the target"
        )
    layers = getattr(config, "layer_types", None) or []
    whole = getattr(config, "use_sliding_window", True) is False
    sliding = getattr(config, "sliding_window", None) if not layers and not whole else None
    if sliding or any(kind != "full_attention" for kind in layers):
        raise ValueError(
            f"the target's layers slide a window (sliding_window={sliding or layers});"
            " only full attention is supported"
        )


def device_of(name: torch.device | str | None) -> torch.device:
    """A device; without a name the GPU if there is one.

    Raises:
        ValueError: in one line, for a name that is unknown.
    """
    try:
        return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"device={name!r} is unknown; give cpu, cuda or cuda:N") from None


def load_target(
    target_path: str | Path, config: Any, device: torch.device, dtype: torch.dtype | None
) -> Any:
    """The model in inference mode with our attention."""
    return load_causal_model(target_path, dtype, NAME, config).to(device)


def target_shape(config: Any) -> TargetShape:
    """The sizes that a draft must agree with; positions are those that scaled ones reach.

    Raises:
        ValueError: in one line, for a rotary embedding that is not known.
    """
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = keys_of(config) or {}
    try:
        positions = RotaryConfig.of(rope, head_dim).limit(config.max_position_embeddings)
    except ValueError as error:
        where = getattr(config, "_name_or_path", "") or "the target"
        raise ValueError(f"{where}: config.json: {error}") from None
    return TargetShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_attention_heads=heads,
        num_key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=head_dim,
        max_position_embeddings=positions,
        rope=rope,
    )
