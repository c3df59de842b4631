"""What set-up says: progress lines, and one line when something is wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class SetupError(Exception):
    """One line that names what is wrong and what to do."""


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(f"setup: {text}", file=sys.stderr, flush=True)


class Progress:
    """``stage i/n`` lines with elapsed seconds: redrawn on a terminal, every 15 s in a log."""

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self.stage = 0
        self.title = ""
        self._began = time.monotonic()
        self._shown = 0.0

    def start(self, title: str) -> None:
        """Begin the next stage."""
        self.stage += 1
        self.title = title
        self._began = self._shown = time.monotonic()
        say(f"[{self.stage}/{self.stages}] {title}")

    def tick(self, detail: str) -> None:
        """Show what the stage is doing now."""
        now = time.monotonic()
        line = f"[{self.stage}/{self.stages}] {now - self._began:4.0f} s  {detail}"
        if sys.stderr.isatty():
            print(f"\r\033[Ksetup: {line[:100]}", end="", file=sys.stderr, flush=True)
        elif now - self._shown >= 15:
            self._shown = now
            say(line[:160])

    def done(self) -> None:
        """End the stage."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        say(f"[{self.stage}/{self.stages}] {self.title}: {time.monotonic() - self._began:.0f} s")


def run_main(main: Callable[[], None]) -> int:
    """Run ``main``; errors become one line on stderr, Ctrl-C becomes 130."""
    try:
        main()
    except SetupError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"setup: error: {error}; free the path or the space and run again", file=sys.stderr)
        return 1
    return 0
