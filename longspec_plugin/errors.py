"""The error of a user's mistake: one line, no traceback."""

from __future__ import annotations

import sys
from types import TracebackType


class LongSpecError(ValueError):
    """A configuration that cannot work; the message names the value, the allowed set, the fix."""


def print_in_one_line() -> None:
    """Make an uncaught :class:`LongSpecError` print its message alone. Idempotent."""
    if getattr(sys.excepthook, "longspec", False):
        return
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, LongSpecError):
            print(f"longspec: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    hook.longspec = True  # type: ignore[attr-defined]
    sys.excepthook = hook
