"""Loading a target by path, and refusing in one line what the engine cannot run exactly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ..base import TargetShape
from .attention import NAME


def read_config(target_path: str | Path) -> Any:
    """transformers' configuration of the model at a path.

    Raises:
        ValueError: in one line, where there is none or it is unknown.
    """
    path = Path(target_path)
    if not (path / "config.json").is_file():
        raise ValueError(
            f"target {path} has no config.json; give the folder of a transformers model"
        )
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (ValueError, OSError) as error:
        raise ValueError(f"target {path}: {str(error).splitlines()[0]}") from None


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


def load_target(
    target_path: str | Path, config: Any, device: torch.device, dtype: torch.dtype | None
) -> Any:
    """The model in inference mode with our attention; no remote code, no pickles."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            Path(target_path),
            config=config,
            dtype=dtype or "auto",
            attn_implementation=NAME,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"target {target_path} cannot be loaded: {reason}") from None
    return model.to(device).eval().requires_grad_(False)


def target_shape(config: Any) -> TargetShape:
    """The sizes that a draft must agree with."""
    heads = config.num_attention_heads
    return TargetShape(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_attention_heads=heads,
        num_key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        max_position_embeddings=config.max_position_embeddings,
    )
