"""What SGLang's speculative path needs on a CPU without its compiled kernels.

Each is an around-hook that leaves every other device to the original, installed only in processes
that serve LONGSPEC on a CPU. They can go when SGLang's own fallbacks cover speculation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sglang.srt.plugins.hook_registry import HookRegistry, HookType
from torch import Tensor


def assign_slots(
    original: Callable[..., None],
    req_pool_indices: Tensor,
    req_to_token: Tensor,
    start_offset: Tensor,
    end_offset: Tensor,
    out_cache_loc: Tensor,
    batch_size: int,
) -> None:
    """Write newly allocated slots into the requests' rows (stock: a Triton kernel)."""
    if req_to_token.device.type != "cpu":
        original(
            req_pool_indices, req_to_token, start_offset, end_offset, out_cache_loc, batch_size
        )
        return
    given = 0
    spans = (req_pool_indices.tolist(), start_offset.tolist(), end_offset.tolist())
    for row, start, end in zip(*spans, strict=True):
        count = end - start
        req_to_token[row, start:end] = out_cache_loc[given : given + count].to(req_to_token)
        given += count


def skip_copy_warmup(original: Callable[..., None], pool: Any) -> None:
    """No Triton copy of KV to set up: :mod:`.cpu_cache` moves it."""
    if str(pool.device) != "cpu":
        original(pool)
        return
    pool._kv_copy_config = None


def bridge() -> None:
    """Install the hooks in this process."""
    package = "sglang.srt.mem_cache"
    around = {
        "allocation.assign_req_to_token_pool_func": assign_slots,
        "memory_pool.MHATokenToKVPool._init_kv_copy_and_warmup": skip_copy_warmup,
    }
    for target, hook in around.items():
        HookRegistry.register(f"{package}.{target}", hook, HookType.AROUND)
    HookRegistry.apply_hooks()
