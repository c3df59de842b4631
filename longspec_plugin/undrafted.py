"""Requests that are not drafted are told in the log, by reason: none is left out in silence."""

from __future__ import annotations

import logging
from collections import Counter

AGAIN = 1000
"""A reason is told when it is first met, and after each so many requests."""


class Undrafted:
    """Counts of one server, told by the engine's ``logger``."""

    def __init__(self, logger: str) -> None:
        self.logger = logging.getLogger(logger)
        self.counts: Counter[str] = Counter()

    def note(self, reason: str) -> None:
        """One more request is left undrafted for ``reason``, such as the parameter's name."""
        self.counts[reason] += 1
        count = self.counts[reason]
        if count == 1 or count % AGAIN == 0:
            self.logger.warning(
                "longspec: %d request%s so far served without drafts: %s",
                *(count, "s" if count > 1 else "", reason),
            )
