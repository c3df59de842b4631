"""Repetition loops at the end of an answer."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 96
SHORTEST = 12


def loop_start(tokens: Sequence[int], longest: int = LONGEST) -> int | None:
    """Length to keep of a sequence that ends in a loop; None if it does not.

    A loop is one block of at most ``longest`` tokens, three times over or more; blocks of fewer
    than 12 tokens count several times as one. Two rounds are kept: a draft should know loops, but
    they must not dominate.
    """
    for period in range(1, min(longest, len(tokens) // 3) + 1):
        block = period * max(1, SHORTEST // period)
        tail = list(tokens[-3 * block :])
        if len(tail) == 3 * block and tail[period:] == tail[:-period]:
            return _start(tokens, period) + 2 * block
    return None


def _start(tokens: Sequence[int], period: int) -> int:
    """Where the tokens begin to repeat with this period."""
    place = len(tokens) - period
    while place and tokens[place - 1] == tokens[place - 1 + period]:
        place -= 1
    return place
