"""What a run shows: a bar with a table of categories, and the sums at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from .store import Journal

PAUSE = 60.0  # seconds between lines where nobody watches


class Display:
    """A live bar on stderr; a line a minute where stderr is a file.

    Args:
        part: share of the work that is done, 0 to 1.
    """

    def __init__(self, journal: Journal, part: Callable[[], float]) -> None:
        self.console = Console(stderr=True, markup=False, highlight=False)
        self._journal = journal
        self._part = part
        self._start = self._told = time.monotonic()
        self._began = journal.tokens.total(), part()
        self._live = Live(
            console=self.console, get_renderable=self._render, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def update(self) -> None:
        """After an answer; the bar redraws itself."""
        if not self.console.is_terminal and time.monotonic() - self._told > PAUSE:
            self._told = time.monotonic()
            self.console.print(self._line(), soft_wrap=True)

    def _render(self) -> Group:
        bar = ProgressBar(total=1.0, completed=min(1.0, self._part()), width=20)
        row = Table.grid(padding=(0, 2))
        row.add_row(bar, self._line())
        return Group(row, category_table(self._journal.sequences))

    def _line(self) -> str:
        passed, part = time.monotonic() - self._start, min(1.0, self._part())
        tokens = self._journal.tokens.total()
        rate = (tokens - self._began[0]) / max(passed, 1e-9)
        gained = part - self._began[1]
        left = timedelta(seconds=round(passed * (1 - part) / gained)) if gained > 0 else "?"
        return f"{part:.0%}, {tokens:,} tokens, {rate:,.0f} tokens/s, {left} left"


def category_table(sequences: Counter[str], across: int = 5) -> Table:
    """Sequences of each category, several pairs in a row."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    cells = [cell for name, n in sorted(sequences.items()) for cell in (name, f"{n:,}")]
    for i in range(2 * across):
        table.add_column(justify="right" if i % 2 else "left")
    for start in range(0, len(cells), 2 * across):
        table.add_row(*cells[start : start + 2 * across])
    return table


def print_sums(journal: Journal, refused: Counter[str]) -> None:
    """The end of a run, on stdout: tokens by source, sequences by category, what was refused."""
    console = Console(markup=False, highlight=False)
    sources = ", ".join(f"{n:,} {source}" for source, n in sorted(journal.tokens.items()))
    console.print(
        f"{journal.path}: {journal.tokens.total():,} tokens ({sources or 'none'})"
        f" in {journal.sequences.total():,} sequences",
        soft_wrap=True,
    )
    console.print(category_table(journal.sequences))
    told = ", ".join(f"{n:,} {reason}" for reason, n in refused.most_common())
    console.print(f"refused: {told or 'none'}", soft_wrap=True)
