"""Cells of :mod:`.load_table`: what was measured, and what is best by batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel

VANILLA = "vanilla"
TIE = 0.98  # of the best rate: fewer nodes are taken from here on, as they leave room for others


class Cell(BaseModel):
    """What one server did with so many requests at a time; ``nodes`` is a number or vanilla."""

    nodes: str
    requests: int
    round: int
    tokens: int
    seconds: float


class Rates:
    """Tokens per second by nodes and batch size, all rounds together."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.sums: dict[tuple[str, int], tuple[int, float]] = {}
        for cell in cells:
            tokens, seconds = self.sums.get((cell.nodes, cell.requests), (0, 0.0))
            self.sums[cell.nodes, cell.requests] = tokens + cell.tokens, seconds + cell.seconds

    def of(self, nodes: str, requests: int) -> float | None:
        """None where nothing was measured."""
        tokens, seconds = self.sums.get((nodes, requests), (0, 0.0))
        return tokens / seconds if seconds else None

    def best(self, requests: int) -> int | None:
        """The fewest nodes that are near the best rate."""
        found = {int(n): r for n, r in self._row(requests).items() if n != VANILLA}
        return min((n for n, r in found.items() if r >= TIE * max(found.values())), default=None)

    def lost(self, requests: int) -> bool:
        """Whether the target alone is faster than with any number of nodes, none included."""
        row = self._row(requests)
        alone = row.pop(VANILLA, 0.0)
        return TIE * alone > max(row.values(), default=alone)

    def _row(self, requests: int) -> dict[str, float]:
        names = {name for name, size in self.sums if size == requests}
        return {name: rate for name in names if (rate := self.of(name, requests))}


def schedule(rates: Rates, sizes: Sequence[int], most: int) -> list[list[int]]:
    """The best nodes from each measured batch size up to the next, the last up to ``most``."""
    known = [(size, best) for size in sizes if (best := rates.best(size)) is not None]
    entries: list[list[int]] = []
    for i, (size, nodes) in enumerate(known):
        last = known[i + 1][0] - 1 if i + 1 < len(known) else most
        if entries and entries[-1][2] == nodes:
            entries[-1][1] = last
        else:
            entries.append([size if entries else 1, last, nodes])
    return entries


def doubled(most: int) -> Iterator[int]:
    """Batch sizes 1, 2, 4, ... and the greatest."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most
