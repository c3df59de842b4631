"""Progress: a bar on a terminal, plain lines elsewhere; all of it on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

QUIET_SECONDS = 15.0  # between two plain lines
WIDTH = 140  # of a plain line's text


class Show:
    """Tells how far one arm is."""

    def __init__(self, label: str, total: int, bar: Progress | None, task: TaskID | None) -> None:
        self.label, self.total, self.bar, self.task = label, total, bar, task
        self.done, self.tokens, self.spoke, self.started = 0, 0, 0.0, 0.0

    def status(self, text: str) -> None:
        """What happens now, such as the last line of the server's log."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, note=escape(text))
        elif time.monotonic() - self.spoke > QUIET_SECONDS:
            self._say(text)

    def restart(self, label: str) -> None:
        """Another part begins, under its own name."""
        self.label, self.done, self.tokens = label, 0, 0
        if self.bar is not None and self.task is not None:
            self.bar.reset(self.task, description=label)

    def expect(self, total: int) -> None:
        """How many requests the part will have."""
        self.total = total
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, total=total)

    def start_clock(self) -> None:
        """The measured window begins."""
        self.started = time.perf_counter()

    def advance(self, note: str, tokens: int) -> None:
        """One more request has ended, with that many completion tokens."""
        self.done += 1
        self.tokens += tokens
        note = f"{self.tokens / (time.perf_counter() - self.started):.1f} tok/s  {note}"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=self.done, note=escape(note))
        elif self.done == self.total or time.monotonic() - self.spoke > QUIET_SECONDS:
            self._say(f"{self.done}/{self.total} requests, {note}")

    def _say(self, text: str) -> None:
        self.spoke = time.monotonic()
        err.print(f"{self.label}: {text[:WIDTH]}", markup=False, highlight=False, soft_wrap=True)


err = Console(stderr=True)


@contextmanager
def showing(label: str, total: int) -> Iterator[Show]:
    """Progress of one arm in one round."""
    if not err.is_terminal:
        yield Show(label, total, None, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=err) as bar:
        yield Show(label, total, bar, bar.add_task(label, total=total, note=""))
