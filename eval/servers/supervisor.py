"""Stands between the evaluation and a server, so that no death of ours leaves a server behind.

``python -I -S supervisor.py GRACE COMMAND...`` is run by path, as the leader of a session of its
own, and imports the standard library only. It starts the command in its session and reads stdin, a
pipe that the client holds. When the pipe closes, because the client asks for it or has died in any
way, it terminates all processes of the session, and their orphans wherever they went; those that
are left after GRACE seconds (or as many as the client wrote into the pipe) it kills. When the
server ends by itself, it does the same to what the server left, and ends as the server did.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

ORPHANS_GRACE = 1.0  # seconds for what a dead server leaves: the client waits for its exit code
KILL_SECONDS = 10.0  # until processes that not even SIGKILL ends are given up
POLL_SECONDS = 0.05
PR_SET_CHILD_SUBREAPER = 36
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(grace: float, command: list[str]) -> int:
    """Serve until either side ends; 0 if the client ended, else as the server did."""
    wake, status = _wake_on_signals(), None
    _adopt_orphans()
    try:
        server = _start(command)
    except OSError as error:
        print(f"{command[0]}: cannot be started ({error.strerror})", flush=True)
        return 127
    try:
        status, grace = _watch(server, wake, grace)
    finally:
        _end_all(grace)
    return 0 if status is None else _end_like(status)


def _wake_on_signals() -> int:
    """A pipe that gets the number of each signal that arrives."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for kind in (signal.SIGCHLD, *STOPS):
        signal.signal(kind, lambda *_: None)
    return read


def _adopt_orphans() -> None:
    """Become the parent of orphaned descendants: they are found, and leave no zombies."""
    with suppress(ImportError, OSError, AttributeError):  # a Linux without it: the session remains
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _start(command: list[str]) -> int:
    """In a process group of its own, so that a server which signals its group leaves us alone."""
    return os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores, and a child inherits
    )


def _watch(server: int, wake: int, grace: float) -> tuple[int | None, float]:
    """Wait for an end: the server's status, None if it still runs, and the grace to give."""
    told = b""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            arrived = os.read(wake, 512)
            if (status := dict(_reaped()).get(server)) is not None:
                return status, min(grace, ORPHANS_GRACE)
            if any(kind in arrived for kind in STOPS):
                return None, grace
        if 0 in ready:
            told += (heard := os.read(0, 64))
            if not heard:
                return None, float(told) if told else grace


def _reaped() -> Iterator[tuple[int, int]]:
    """Children that have ended, with their status; adopted ones too."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _end_all(grace: float) -> None:
    """SIGTERM to all, then SIGKILL to what is left and to what it starts meanwhile."""
    _signal(_others(), signal.SIGTERM)
    until = time.monotonic() + grace
    while _others() and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    until = time.monotonic() + KILL_SECONDS
    while (left := _others()) and time.monotonic() < until:
        _signal(left, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def _signal(pids: set[int], kind: signal.Signals) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, kind)


def _others() -> set[int]:
    """Processes of our session and all descendants, without us and those that have ended."""
    list(_reaped())
    us, table = os.getpid(), dict(_processes())
    found = {pid for pid, (_, session) in table.items() if session == us} - {us}
    reached = {us} | found
    while more := {pid for pid, (parent, _) in table.items() if parent in reached} - reached:
        reached |= more
    return reached - {us}


def _processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Parent and session of every process; see proc(5) for the fields."""
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):  # not a process, or one that has just ended
            pid = int(name)
            with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
                # The name before the last bracket may hold anything.
                state, parent, _, session = file.read().rpartition(")")[2].split()[:4]
            if state not in "ZX":
                yield pid, (int(parent), int(session))


def _end_like(status: int) -> int:
    """The exit code; a server that a signal ended has us end by the same, without a core dump."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # SIGKILL has no handler to take away
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
