"""However the client, the server or its engine ends: no process is left, and the log is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from eval.cli.errors import UserError
from eval.servers import server
from eval.servers.http import Address
from eval.servers.server import SUPERVISOR, Server

ROOT = Path(__file__).parents[4]
DUMMY = [sys.executable, "-m", "tests.unit.eval.dummy_server"]
# Prints its own id and a child's, which left for a session of its own and does not mind SIGTERM.
TREE = """
import os, signal, sys, time
print(os.getpid(), flush=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    time.sleep(100)
os.wait()
END
"""
CLIENT = """
import os, sys, time
from pathlib import Path
from eval.servers import server
server.GRACE = 0.3
with server.running(sys.argv[3:], dict(os.environ), Path(sys.argv[1]), int(sys.argv[2]), 40, print):
    time.sleep(100)
"""


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "waited for too long"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def keep(command: list[str], log: Path, grace: float = 0.2) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), str(grace), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            start_new_session=True,
        )


def words(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()] if log.exists() else []


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(server, "LEAVING_SECONDS", 0.1)
    for name, value in (
        ("DUMMY_MODE", "serve"),
        ("DUMMY_PIDS", str(tmp_path / "pids")),
        ("PYTHONPATH", str(ROOT)),
    ):
        monkeypatch.setenv(name, value)
    return tmp_path / "x.log"


@contextmanager
def served(log: Path) -> Iterator[tuple[Server, list[int]]]:
    """A dummy of ours, with its id, its child's, and its child's child's."""
    port = server.choose_port(None)
    line = [*DUMMY, "--port", str(port)]
    with server.running(line, dict(os.environ), log, port, 40, lambda _: None) as made:
        yield made, words(log.with_name("pids"))
    assert not any(map(running, words(log.with_name("pids"))))


def gone(*pids: int) -> None:
    """Not there at all: a zombie would be an entry in the table of processes for ever."""
    wait_for(lambda: not any(map(psutil.pid_exists, pids)))


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", -signal.SIGKILL),
        ("kill -TERM $$", -signal.SIGTERM),
        ("kill -SEGV $$", -signal.SIGSEGV),
    ],
)
def test_it_ends_as_the_server_did(command: str, code: int, tmp_path: Path) -> None:
    assert keep(["sh", "-c", command], tmp_path / "log").wait(20) == code


def test_a_command_that_cannot_be_started(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert keep(["/no/such/program"], log).wait(20) == 127
    assert log.read_text() == "/no/such/program: cannot be started (No such file or directory)\n"


@pytest.mark.parametrize("end", ["close", "SIGTERM"])
def test_all_that_was_started_ends_with_the_pipe(end: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    supervisor = keep([sys.executable, "-c", TREE.replace("END", "time.sleep(100)")], log)
    wait_for(lambda: len(words(log)) == 2)
    assert supervisor.stdin
    supervisor.stdin.close() if end == "close" else supervisor.terminate()
    assert supervisor.wait(20) == 0
    gone(*words(log))


def test_what_a_dead_server_leaves_ends_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    supervisor = keep(
        [sys.executable, "-c", TREE.replace("END", "time.sleep(0.3); os._exit(7)")], log
    )
    assert supervisor.wait(20) == 7
    assert len(words(log)) == 2
    gone(*words(log))


def test_the_client_may_name_another_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    supervisor = keep([sys.executable, "-c", TREE.replace("END", "time.sleep(100)")], log, grace=60)
    wait_for(lambda: len(words(log)) == 2)
    server.stop(supervisor, 0.1)
    assert supervisor.returncode == 0
    gone(*words(log))


def test_signals_of_a_terminal_do_not_reach_the_server(log: Path) -> None:
    with served(log) as (made, pids):
        assert made.process
        sessions = {os.getsid(pid) for pid in [made.process.pid, *pids]}
        assert sessions == {made.process.pid}
        assert os.getpgid(pids[0]) == pids[0]
        made.check_alive()


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_that_is_killed_leaves_nothing_but_the_log(
    kind: signal.Signals, log: Path
) -> None:
    port = str(server.choose_port(None))
    line = [sys.executable, "-c", CLIENT, str(log), port, *DUMMY, "--port", port]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE) as client:
        wait_for(lambda: len(words(log.with_name("pids"))) == 3)
        (supervisor,) = psutil.Process(client.pid).children()
        pids = words(log.with_name("pids"))
        assert all(map(running, pids))
        client.send_signal(kind)
        assert client.wait(20) == -kind
    wait_for(lambda: not running(supervisor.pid))
    gone(*pids)
    assert log.exists()


def test_a_server_that_is_killed(log: Path) -> None:
    with served(log) as (made, pids):
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(UserError) as raised:
            made.check_alive(10)
        gone(*pids)
    assert str(raised.value) == (
        f"server died of signal 9 (Killed); read {log}, then run the same command with --resume;"
        " last lines: "
    )


def test_an_engine_that_is_killed_under_a_server_that_stays(log: Path) -> None:
    with served(log) as (made, pids):
        os.kill(pids[1], signal.SIGKILL)
        wait_for(lambda: server.health(made.address) != server.OK)
        with pytest.raises(UserError) as raised:
            made.check_alive()
    assert str(raised.value) == (
        f"server no longer serves (/health: HTTP 503); read {log}, then run the same command with"
        " --resume; last lines: "
    )


def test_a_supervisor_that_is_killed_leaves_its_work_to_us(log: Path) -> None:
    with served(log) as (made, pids):
        assert made.process
        made.process.kill()
        with pytest.raises(UserError, match="of signal 9"):
            made.check_alive(10)
        assert running(pids[0])


def test_a_server_that_refuses_connections(log: Path) -> None:
    with served(log) as (made, _):
        made.address = Address(f"http://127.0.0.1:{server.choose_port(None)}")
        with pytest.raises(UserError, match=r"/health: connection refused\); read "):
            made.check_alive()


def test_servers_of_others_are_not_judged() -> None:
    Server(Address("http://127.0.0.1:1")).check_alive()
