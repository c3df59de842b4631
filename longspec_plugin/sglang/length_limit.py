"""Room for a whole step's KV at the length limit.

Why: each step reserves KV for twice the tree behind a request's tokens, but with pages of one token
SGLang 0.5.23 makes a request's row of slots only one tree longer than the model's context, so a
request that comes near the limit writes into the next request's row. How: the rows are made as long
as the reserve. Upstream: the same is done there for larger pages, in the same function. It can go
when that holds for all pages.
"""

from __future__ import annotations


def widen_rows() -> None:
    """Install the hook in this process, before SGLang allocates its pools."""
    from sglang.srt.mem_cache.allocation_sizing import (
        get_alloc_page_size,
        get_alloc_reserve_per_decode,
    )
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    def at_least_the_reserve(extra: int) -> int:
        return max(extra, get_alloc_reserve_per_decode() + get_alloc_page_size() - 1)

    HookRegistry.register(
        "sglang.srt.mem_cache.allocation_sizing.get_req_to_token_extra_context_len",
        at_least_the_reserve,
        HookType.AFTER,
    )
    HookRegistry.apply_hooks()
