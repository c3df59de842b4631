"""The one kind of error a user sees: a single line, no traceback, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can repair: names the value, what is allowed and the fix."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; unwinds the stack so that servers are stopped.

    A KeyboardInterrupt, since asyncio and HTTP clients swallow other exceptions that a signal
    handler raises within them.
    """


def one_line(text: str) -> str:
    """Fold ``text`` into a single line."""
    return " ".join(text.split())
