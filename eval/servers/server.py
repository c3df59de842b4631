"""Starts the server of an arm, waits until it serves, and stops all of its processes."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

from ..cli.errors import UserError
from ..cli.options import Options
from .addresses import own
from .arms import Arm
from .engines import HOST, engine_of
from .http import Address, why
from .logs import last_line, last_words

POLL_SECONDS = 0.5  # between two looks at a server that starts
GRACE = 10.0  # seconds between SIGTERM and SIGKILL
KILL_SECONDS = 15.0  # for the supervisor to see them all gone
LEAVING_SECONDS = 3.0  # a server that no longer serves may be about to end and tell why
PORTS = range(20_000, 32_000)
"""Below those that systems give out: such a one may be given again before the server listens on it,
and to the server itself, whose processes find each other by many."""
SUPERVISOR = Path(__file__).with_name("supervisor.py")
RESUME = ", then run the same command with --resume"
OK, SLOW = "ok", "no answer in time"
Show = Callable[[str], None]


@dataclass
class Server:
    """A server to measure; ``process``, its supervisor, and ``log`` only if it is ours."""

    address: Address
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    @property
    def url(self) -> str:
        """``http://HOST:PORT``."""
        return self.address.url

    def check_alive(self, patience: float = 0.0) -> None:
        """Raise ``UserError`` if our server has ended, does so within ``patience`` seconds, or
        lives without serving, as a process of vLLM's does for a while whose engine has died.
        """
        if self.process is None or self.log is None:
            return
        self.check_process(patience, RESUME)
        if (found := health(self.address)) in (OK, SLOW):
            return
        self.check_process(LEAVING_SECONDS, RESUME)
        words = last_words(self.log)
        raise UserError(
            f"server no longer serves (/health: {found}); read {self.log}{RESUME}; {words}"
        )

    def check_process(self, patience: float = 0.0, then: str = "") -> None:
        """Raise ``UserError`` if our server has ended, or does so within ``patience`` seconds."""
        if self.process is None or self.log is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
            raise UserError(death_notice(self.process, self.log, then))


def health(address: Address, timeout: float = 5.0) -> str:
    """What ``/health`` says: ``OK``, ``SLOW``, or what is wrong."""
    try:
        with address.client(timeout) as client:
            status = client.get("/health").status_code
        return OK if status == 200 else f"HTTP {status}"
    except httpx.TimeoutException:
        return SLOW
    except (OSError, ValueError, ImportError, httpx.HTTPError) as error:
        return why(error)


def choose_port(asked: int | None) -> int:
    """The asked port if it is free, else a free one of :data:`PORTS`."""
    tried = [asked] if asked else [*random.SystemRandom().sample(PORTS, 20), 0]
    for port in tried:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
            except OSError as error:
                why_not = error.strerror
    raise UserError(
        f"--port {asked}: cannot be used ({why_not}); give a free port, or leave --port out"
    )


def command(options: Options, arm: Arm, port: int, export: Path | None = None) -> list[str]:
    """The server's command line; it writes a line per request below ``export``."""
    engine = engine_of(options.engine)
    folder = [*engine.export, str(export.absolute())] if export else []
    return engine.command(options, arm.config, port) + folder


def environment(
    options: Options, arm: Arm | None = None, trace: Path | None = None
) -> dict[str, str]:
    """The caller's environment, with what the engine, the arm and a local model need."""
    engine = engine_of(options.engine)
    env = {**engine.defaults(options), **os.environ}
    env |= engine.variables(arm.config if arm else None)
    if options.model and Path(options.model).is_dir():
        env["HF_HUB_OFFLINE"] = "1"
    if trace:
        env["LONGSPEC_TRACE"] = str(trace.absolute())
    return env


@contextmanager
def running(
    line: list[str], env: dict[str, str], log: Path, port: int, timeout: float, show: Show
) -> Iterator[Server]:
    """Start the command, yield the server once ``/health`` answers, and stop its process tree."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, held_signals():
        # Signals are held: one between the start and the ``try`` would leave the server behind.
        process = _keep(line, env, output)
    try:
        server = Server(own(line, env, port), process, log)
        _wait(server, log, timeout, show)
        yield server
    finally:
        with held_signals():
            stop(process)


def _keep(line: list[str], env: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the command under a supervisor, which ends it once its stdin closes, however we end.

    A session of its own: Ctrl-C reaches us alone, and orphans can be found by its id.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(SUPERVISOR), str(GRACE), *line],
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.PIPE,
        env=env,
        start_new_session=True,
    )


def _wait(server: Server, log: Path, timeout: float, show: Show) -> None:
    started, found = time.monotonic(), SLOW
    while time.monotonic() - started < timeout:
        server.check_process()
        if (found := health(server.address)) == OK:
            return
        show(f"starting, {time.monotonic() - started:.0f} s: {last_line(log)}")
        time.sleep(POLL_SECONDS)
    raise UserError(
        f"--startup-timeout {timeout:g}: the server was not ready in time (/health:"
        f" {found}); give it longer; log {log}; {last_words(log)}"
    )


def death_notice(process: subprocess.Popen[bytes], log: Path, then: str = "") -> str:
    """One line about a server that ended by itself; ``then`` is what to do after reading."""
    code = process.returncode
    how = f"of signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"
    return f"server died {how}; read {log}{then}; {last_words(log)}"


def stop(process: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """Have the supervisor terminate the server and all that it started, and kill what is left after
    ``grace`` seconds. What a supervisor leaves that was itself killed is killed here.
    """
    if process.stdin is not None:
        with suppress(OSError):  # the server has ended, and its supervisor with it
            process.stdin.write(f"{grace}\n".encode())
            process.stdin.flush()
        with suppress(OSError):
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        if process.wait(timeout=grace + KILL_SECONDS) >= 0:
            return  # it has seen them all end
    left = _tree(process)
    for member in left:
        with suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(left, timeout=grace)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)


def _tree(supervisor: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The supervisor and its descendants, if it lives, and orphans of its session."""
    found: set[psutil.Process] = set()
    with suppress(psutil.Error):
        if supervisor.poll() is None:  # else its id may be another's by now
            root = psutil.Process(supervisor.pid)
            found |= {root, *root.children(recursive=True)}
    for other in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(other.pid) == supervisor.pid:
                found.add(other)
    with suppress(psutil.Error):
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    return list(found)


@contextmanager
def held_signals() -> Iterator[None]:
    """Let the block end before a Ctrl-C or a termination takes effect."""
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    came: list[int] = []
    try:
        before = [signal.signal(kind, lambda number, _: came.append(number)) for kind in kinds]
    except ValueError:  # not in the main thread, where no signals arrive
        yield
        return
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
        for number in came[:1]:
            signal.raise_signal(number)
