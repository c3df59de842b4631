"""A process with its own log, which is stopped with all that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from .plan import ROOT

GRACE = 10.0
"""Seconds from Ctrl-C to the kill."""


class Job:
    """One running process: a session of its own, its output in ``log``."""

    def __init__(self, line: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.began = log, time.monotonic()
        with log.open("w") as file:
            self.process = subprocess.Popen(
                line,
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """The exit status, None while it runs."""
        return self.process.poll()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.began

    def tell(self, line: str) -> None:
        """A line into its standard input; one that has ended does not hear it."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()

    def stop(self, grace: float = GRACE) -> None:
        """Ctrl-C, so that it writes what it has, then the end of it and of its children."""
        if self.code is None:
            self._send(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        self._send(signal.SIGKILL)  # children outlive a process that was ended
        self.process.wait()

    def _send(self, what: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, what)


def hear_ctrl_c() -> None:
    """Ctrl-C and a polite kill stop this process, also one that began in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def module(name: str, *arguments: object) -> list[str]:
    """The command line of a module of this package."""
    return [sys.executable, "-m", f"recipes.gpu.{name}", *map(str, arguments)]


def wait(until: Callable[[], bool], deadline: float, pause: float = 0.05) -> bool:
    """Whether it came true before ``deadline`` (monotonic seconds)."""
    while not until():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def end(log: Path, lines: int = 25) -> str:
    """The last lines of a log, without blank ones."""
    try:
        found = log.read_text(errors="replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in found if line.strip()][-lines:])


def cause(log: Path) -> str:
    """The line that says why a process failed: the last that names an error, else the last."""
    found = end(log, 200).splitlines()
    named = [line for line in found if "Error" in line or "error:" in line]
    return (named or found or ["no output"])[-1].strip()[:200]
