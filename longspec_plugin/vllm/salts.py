"""The salts of requests, brought to the worker.

Why a patch: vLLM's scheduler keeps a request's ``cache_salt`` to itself, and its worker drafts.
How: what the scheduler tells of a new request carries it as an attribute, at which vLLM does not
look. Upstream: ``vllm/v1/core/sched/output.py``. It can go when ``NewRequestData`` has the field.
"""

from __future__ import annotations

import functools
from typing import Any

from ..scopes import scope

SALT = "longspec_cache_salt"


def install() -> None:
    """Wrap ``NewRequestData.from_request``, once."""
    from vllm.v1.core.sched.output import NewRequestData

    original: Any = NewRequestData.from_request.__func__  # type: ignore[attr-defined]
    if getattr(original, "longspec", False):
        return

    @functools.wraps(original)
    def from_request(cls: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        told = original(cls, request, *args, **kwargs)
        if request.cache_salt:
            setattr(told, SALT, request.cache_salt)
        return told

    from_request.longspec = True  # type: ignore[attr-defined]
    NewRequestData.from_request = classmethod(from_request)  # type: ignore[assignment,method-assign]


def scope_of(new_request: Any) -> int:
    """Whose answers a request that the scheduler tells of may be drafted from."""
    return scope(getattr(new_request, SALT, None))
