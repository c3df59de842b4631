"""Starts the server of an arm, waits until it serves, and stops all of its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from .arms import Arm
from .engines import HOST, engine_of
from .errors import UserError
from .logs import last_line, last_words
from .options import Options

POLL_SECONDS = 0.5  # between two looks at a server that starts
Show = Callable[[str], None]


@dataclass
class Server:
    """A server to measure; ``process`` and ``log`` only if it is ours."""

    url: str
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def check_alive(self, patience: float = 0.0) -> None:
        """Raise ``UserError`` if our server has ended, or does so within ``patience`` seconds."""
        if self.process is None or self.log is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(patience)
            raise UserError(death_notice(self.process, self.log))


def choose_port(asked: int | None) -> int:
    """The asked port if it is free, else one that the system gives."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, asked or 0))
        except OSError as error:
            raise UserError(
                f"--port {asked}: cannot be used ({error.strerror}); give a free port, or leave"
                " --port out"
            ) from None
        return int(probe.getsockname()[1])


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
        # A session of its own: Ctrl-C reaches us alone, and orphans can be found by its id.
        # Signals are held: one between the start and the ``try`` would leave the server behind.
        process = subprocess.Popen(
            line,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
    try:
        server = Server(f"http://{HOST}:{port}", process, log)
        _wait(server, log, timeout, show)
        yield server
    finally:
        with held_signals():
            stop(process)


def _wait(server: Server, log: Path, timeout: float, show: Show) -> None:
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        server.check_alive()
        with suppress(httpx.HTTPError):
            if httpx.get(f"{server.url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        show(f"starting, {time.monotonic() - started:.0f} s: {last_line(log)}")
        time.sleep(POLL_SECONDS)
    raise UserError(
        f"--startup-timeout {timeout:g}: the server was not ready in time; give it longer;"
        f" log {log}; {last_words(log)}"
    )


def death_notice(process: subprocess.Popen[bytes], log: Path) -> str:
    """One line about a server that ended by itself."""
    return f"server died with exit code {process.returncode}; read {log}; {last_words(log)}"


def stop(process: subprocess.Popen[bytes], grace: float = 10.0) -> None:
    """Terminate the server and all that it started; kill what is left after ``grace`` seconds."""
    tree = _tree(process.pid)
    for member in tree:
        with suppress(psutil.Error):
            member.terminate()
    psutil.wait_procs(tree, timeout=grace)
    left = _tree(process.pid)  # read again: the tree may have grown
    for member in left:
        with suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(left, timeout=grace)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace)


def _tree(pid: int) -> list[psutil.Process]:
    """The process, its descendants, and orphans of its session."""
    found: set[psutil.Process] = set()
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        found |= {root, *root.children(recursive=True)}
    for other in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(other.pid) == pid:
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
