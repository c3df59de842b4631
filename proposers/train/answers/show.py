"""What a run shows: a bar with a table of categories, and the sums at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from ..progress import Pace
from .store import Journal


class Display:
    """A live bar on stderr; a line a minute where stderr is a file.

    Args:
        part: share of the work that is done, 0 to 1.
    """

    def __init__(self, journal: Journal, part: Callable[[], float]) -> None:
        self.console = Console(stderr=True, markup=False, highlight=False)
        self._journal = journal
        self._part = part
        self._pace, self._began = Pace(1.0, part()), journal.tokens.total()
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
        if not self.console.is_terminal and self._pace.due():
            self.console.print(self._line(), soft_wrap=True)

    def _render(self) -> Group:
        bar = ProgressBar(total=1.0, completed=min(1.0, self._part()), width=20)
        row = Table.grid(padding=(0, 2))
        row.add_row(bar, self._line())
        return Group(row, category_table(self._journal.sequences))

    def _line(self) -> str:
        part, tokens = min(1.0, self._part()), self._journal.tokens.total()
        rate = (tokens - self._began) / max(self._pace.passed, 1e-9)
        return f"{part:.0%}, {tokens:,} tokens, {rate:,.0f} tokens/s, {self._pace.left(part)} left"


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
