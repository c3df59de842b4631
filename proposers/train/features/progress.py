"""How far the target is: a bar on a terminal, a line a minute where stderr is a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PAUSE = 60.0
"""Seconds between lines."""


def say(text: str) -> None:
    print(f"features: {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many more tokens are done, of ``total``."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn()
    start = told = time.monotonic()
    done = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("features", total=total)

        def advance(tokens: int) -> None:
            nonlocal done, told
            done += tokens
            now = time.monotonic()
            rate = done / max(now - start, 1e-9)
            text = f"{done:,} / {total:,} tokens, {rate:,.0f}/s"
            bar.update(task, completed=done, description=text)
            if not console.is_terminal and (now - told > PAUSE or done == total):
                told = now
                say(f"{text}, {timedelta(seconds=round((total - done) / rate))} left")

        yield advance
