"""How far a command is: a bar on a terminal, a line a minute where stderr is a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PAUSE = 60.0
"""Seconds between lines where nobody watches."""

Advance = Callable[[float, str], None]
"""Told how much is done altogether, and what to show beside the bar."""


class Pace:
    """What is left of a run, by what it has done since it was started or went on.

    Args:
        total: of any unit.
        done: before the start.
    """

    def __init__(self, total: float, done: float = 0.0) -> None:
        self._total, self._began = total, done
        self._start = self._told = time.monotonic()

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def left(self, done: float) -> str:
        """Time that is left, as h:mm:ss; "?" before anything is done."""
        gained = done - self._began
        if gained <= 0:
            return "?"
        return str(timedelta(seconds=round(self.passed * max(0.0, self._total - done) / gained)))

    def due(self) -> bool:
        """Whether a minute has passed since the last time that it had."""
        if time.monotonic() - self._told < PAUSE:
            return False
        self._told = time.monotonic()
        return True


@contextmanager
def shown(name: str, total: float, done: float = 0.0, speaks: bool = True) -> Iterator[Advance]:
    """Shows on stderr how much of ``total`` is done; nothing at all unless it ``speaks``."""
    console, pace = Console(stderr=True), Pace(total, done)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn()
    watched = speaks and console.is_terminal
    with Progress(*columns, console=console, disable=not watched) as bar:
        task = bar.add_task(name, total=total)
        bar.update(task, completed=done)

        def advance(done: float, text: str) -> None:
            bar.update(task, completed=done, description=text)
            if speaks and not watched and (pace.due() or done >= total):
                say(name, f"{text}, {pace.left(done)} left")

        yield advance


def say(name: str, text: str) -> None:
    """A line of the command ``name`` on stderr."""
    print(f"{name}: {text}", file=sys.stderr, flush=True)
