"""How many nodes a tree may have at each batch size, told by hand in vLLM's own form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KEY = "num_speculative_tokens_per_batch_size"
EXPECTED = (
    "expected a list of [first batch size, last batch size, nodes] such as [[1, 4, 8], [5, 64, 2]]"
)


@dataclass(frozen=True)
class NodeSchedule:
    """Entries ``(first batch size, last batch size, nodes)``, both sizes included.

    As vLLM reads them: in order of batch size, the first from 1 on, none over another; a gap and
    all sizes behind the last have the nodes of the entry before.
    """

    entries: tuple[tuple[int, int, int], ...]

    @classmethod
    def read(cls, value: Any, key: str = KEY) -> NodeSchedule:
        """Check what a configuration says under ``key``.

        Raises:
            ValueError: in one line that names the value, what is allowed and the fix.
        """
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{key}={value!r}: {EXPECTED}")
        entries = sorted(_entry(entry, key) for entry in value)
        ends = [0, *(last for _, last, _ in entries)]
        for end, (first, last, nodes) in zip(ends, entries, strict=False):
            if first <= end:
                raise ValueError(
                    f"{key}: {[first, last, nodes]} begins within the sizes up to {end};"
                    " allowed are ranges of batch sizes that do not overlap"
                )
        if entries[0][0] != 1:
            raise ValueError(
                f"{key}: the first batch size is {entries[0][0]}; begin with an entry from 1 on"
            )
        return cls(tuple(entries))

    def nodes(self, requests: int) -> int:
        """The most nodes of each tree in a batch of ``requests``."""
        return next((n for first, _, n in reversed(self.entries) if first <= requests), 0)

    def check(self, max_nodes: int, key: str = KEY) -> None:
        """Raise ValueError if an entry asks for more than a proposer's ``max_nodes``."""
        for entry in self.entries:
            if entry[2] > max_nodes:
                raise ValueError(
                    f"{key}: {list(entry)} asks for {entry[2]} nodes; allowed are 0 to"
                    f" {max_nodes}, all that the tree has"
                )

    def to_json(self) -> list[list[int]]:
        """As vLLM takes it."""
        return [list(entry) for entry in self.entries]


def _entry(value: Any, key: str) -> tuple[int, int, int]:
    whole = isinstance(value, Sequence) and len(value) == 3
    if not whole or not all(type(number) is int for number in value):
        raise ValueError(f"{key}: entry {value!r}; {EXPECTED}")
    first, last, nodes = value
    if not 1 <= first <= last or nodes < 0:
        raise ValueError(
            f"{key}: entry {[first, last, nodes]}; allowed are batch sizes from 1 up, the first not"
            " above the last, and nodes from 0 up"
        )
    return first, last, nodes
