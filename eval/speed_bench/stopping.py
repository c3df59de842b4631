"""Runs a coroutine so that a termination cancels it, as Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..cli.errors import Terminated

STOPS = (signal.SIGTERM, signal.SIGHUP)
Result = TypeVar("Result")


def run(call: Coroutine[Any, Any, Result]) -> Result:
    """``asyncio.run``, in which SIGTERM and SIGHUP cancel the task and raise ``Terminated`` then.

    An exception that a signal handler raises wherever the loop happens to be may be swallowed, or
    leave a connection pool in a state in which it waits for ever. asyncio itself cancels on SIGINT.
    """
    came: list[int] = []

    async def main() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int, _: object) -> None:
            came.append(number)
            loop.call_soon_threadsafe(task.cancel)

        before = {kind: signal.signal(kind, stop) for kind in STOPS}
        try:
            return await call
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise Terminated(signal.Signals(came[0]).name) from None
