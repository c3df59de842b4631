"""Which stock attention backend computes trees, and which targets' attention it may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import LongSpecError
from .gates import GATE

if TYPE_CHECKING:
    from vllm.config import VllmConfig

CPU, FLASH, TRITON = "CPU_ATTN", "FLASH_ATTN", "TRITON_ATTN"
BACKENDS = {"cpu": (CPU,), "cuda": (FLASH, TRITON)}
FLASH_VERSIONS = (2, 3)
"""Versions that read a paged prefix and say its log-sum-exp in the layout that we know."""
NO_WINDOW = (None, -1, (-1, -1))


def settle(config: VllmConfig) -> None:
    """Choose where the user has not, and refuse a choice that knows no trees.

    Raises:
        LongSpecError: another backend was asked for.
    """
    from vllm.platforms import current_platform
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    allowed = BACKENDS.get(current_platform.device_type, ())
    if current_platform.is_cuda() and not _flash_fits(config):
        allowed = (TRITON,)
    chosen = config.attention_config.backend
    if chosen is None and current_platform.is_cuda():
        config.attention_config.backend = AttentionBackendEnum[allowed[0]]
    elif chosen is not None and chosen.name not in allowed:
        raise GATE.refusal(f"--attention-backend {chosen.name}", f"allowed: {', '.join(allowed)}")


def _flash_fits(config: VllmConfig) -> bool:
    """Whether hybrid attention can be computed: 16 bits, FlashAttention 2 or 3."""
    import torch
    from vllm.v1.attention.backends.fa_utils import get_flash_attn_version

    model = config.model_config
    half = model.dtype in (torch.float16, torch.bfloat16)
    return half and get_flash_attn_version(head_size=model.get_head_size()) in FLASH_VERSIONS


def check_impl(name: str, impl: Any) -> None:
    """Refuse a layer whose scores are more than scaled products: our kernels would leave that out.

    Args:
        name: of the layer; ``impl``: the stock implementation that we stand behind.

    Raises:
        LongSpecError: it has a soft cap, ALiBi slopes, sinks or a sliding window.
    """
    found = {
        "a soft cap of scores": bool(getattr(impl, "logits_soft_cap", None)),
        "ALiBi slopes": getattr(impl, "alibi_slopes", None) is not None,
        "attention sinks": getattr(impl, "sinks", None) is not None,
        "a sliding window": getattr(impl, "sliding_window", None) not in NO_WINDOW,
    }
    if has := [what for what, there in found.items() if there]:
        raise LongSpecError(
            f"attention of {name} has {', '.join(has)}, which trees are not verified with;"
            " allowed: targets with plain or grouped attention"
        )
