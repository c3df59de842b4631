"""Speculative decoding algorithms in plain torch: proposers, trees, acceptance, GLIDE.

To understand GLIDE, read ``base`` (what a proposer sees), ``tree``, ``growth``, ``acceptance`` and
``glide``; the rest is other methods, other devices, the offline engine (``offline``) and the making
of drafts (``train``, by far the largest part). Nothing here imports an engine. The offline engine's
classes are loaded when they are asked for, as they need transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .offline.models import (
        GlideModel,
        LlamaGlide,
        MistralGlide,
        Olmo2Glide,
        Qwen2Glide,
        Qwen3Glide,
        load_glide_model,
    )

__all__ = [
    "GlideModel",
    "LlamaGlide",
    "MistralGlide",
    "Olmo2Glide",
    "Qwen2Glide",
    "Qwen3Glide",
    "load_glide_model",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .offline import models
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{name} needs {error.name}; install it with: pip install 'longspec-plugin[offline]'"
        ) from None
    return getattr(models, name)
