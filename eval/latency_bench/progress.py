"""A bar that is redrawn between calls only, so that nothing runs beside a timed one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..cli.progress import err
from .harness import Call

BETWEEN = 0.2  # seconds between two drawings


class Bar:
    """How far a run is, in benchmarks; on stderr, and only lines where that is no terminal."""

    def __init__(self, bar: Progress | None, total: int) -> None:
        self.bar, self.drawn = bar, 0.0
        self.task = bar.add_task("", total=total, note="") if bar else None

    def say(self, text: str) -> None:
        """What is measured now."""
        if self.bar is None or self.task is None:
            err.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self.bar.update(self.task, description=escape(text), note="", refresh=True)

    def hear(self, call: Call) -> None:
        """A call has ended."""
        if self.bar is None or self.task is None:
            return
        what = "measuring" if call.measured else "warming up"
        note = f"{what} {call.number}/{call.planned}, {call.ms:.3g} ms"
        self.bar.update(self.task, advance=float(call.last), note=note)
        if time.monotonic() - self.drawn > BETWEEN:
            self.bar.refresh()
            self.drawn = time.monotonic()


@contextmanager
def showing(total: int) -> Iterator[Bar]:
    """The bar of a run of so many benchmarks."""
    if not err.is_terminal:
        yield Bar(None, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=err, auto_refresh=False) as bar:
        yield Bar(bar, total)
