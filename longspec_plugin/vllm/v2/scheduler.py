"""vLLM's asynchronous scheduler, whose grammars heed trees. Named by ``scheduler_cls``, vLLM's own
option, unless the user names another."""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from .grammars import attach


class TreeScheduler(AsyncScheduler):
    """The same but for bitmasks along trees."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        attach(self.structured_output_manager)
