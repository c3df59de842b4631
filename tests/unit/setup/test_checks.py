"""What the machine lacks is refused in one line that says what to do."""

from __future__ import annotations

import shutil
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from recipes.setup import checks
from recipes.setup.console import SetupError

Usage = namedtuple("Usage", "total used free")


def refusal(check: Callable[[], None]) -> str:
    with pytest.raises(SetupError) as caught:
        check()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("version", [(3, 10, 12), (3, 8, 0), (2, 7, 18)])
def test_old_python(version: tuple[int, ...]) -> None:
    message = refusal(lambda: checks.check_python(version))
    assert ".".join(map(str, version)) in message
    assert "3.11" in message
    assert "make PYTHON=" in message


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 4), (4, 0, 0)])
def test_new_enough_python(version: tuple[int, ...]) -> None:
    checks.check_python(version)


@pytest.mark.parametrize("name", ["darwin", "win32"])
def test_other_platforms(name: str) -> None:
    message = refusal(lambda: checks.check_platform(name))
    assert name in message
    assert "Dockerfile" in message


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_no_venv_module(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks.importlib.util, "find_spec", lambda name: None if name == module else object()
    )
    assert "apt install python3-venv" in refusal(checks.check_venv)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    message = refusal(checks.check_compiler)
    assert "no-such-compiler" in message
    assert "apt install g++" in message


def test_no_python_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(checks.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "apt install python3-dev" in refusal(checks.check_compiler)


def test_small_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: Usage(9, 9, 3 * checks.GIB))
    message = refusal(lambda: checks.check_disk(tmp_path / "not" / "there", 6))
    assert str(tmp_path) in message
    assert "3.0 GiB free, 6 GiB needed" in message
    checks.check_disk(tmp_path, 2.5)


def test_no_nvidia_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    assert not checks.has_nvidia_gpu()


@pytest.mark.parametrize(
    ("script", "expected"),
    [("echo 'GPU 0: some model'", True), ("echo no devices", False), ("exit 9", False)],
)
def test_nvidia_program(
    script: str, expected: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert shutil.which("nvidia-smi") == str(program)
    assert checks.has_nvidia_gpu() is expected


def test_nvidia_program_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 60)

    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(checks.subprocess, "run", hang)
    assert not checks.has_nvidia_gpu()
