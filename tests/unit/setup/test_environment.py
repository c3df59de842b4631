"""Which steps set-up takes, and which packages it asks for; nothing is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recipes.setup import environment, sglang
from recipes.setup.console import Progress, SetupError
from recipes.setup.environment import Environment
from recipes.setup.runner import Runner


class Recorder(Runner):
    """Notes commands instead of running them."""

    def __init__(self, offered: str = "2.13.0+cpu") -> None:
        super().__init__(Path(sys.executable), Path("setup.log"), Progress(3))
        self.offered = offered
        self.commands: list[str] = []

    def run(self, command, name):  # type: ignore[no-untyped-def]
        self.commands.append(" ".join(command))

    def offered_version(self, requirement: str) -> str:
        return self.offered


def made(folder: Path, engines: str = "vllm") -> Environment:
    """An environment whose Python runs."""
    env = Environment(folder, "cpu", engines=engines)
    env.python.parent.mkdir(parents=True)
    env.python.symlink_to(sys.executable)
    return env


def finish(env: Environment) -> None:
    for step in env.steps[1:]:
        env.stamp(step).write_text(env.key(step))


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setattr(Environment, "usable", lambda self: self.python.exists())
    return made(tmp_path / ".venv")


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment with both engines."""
    monkeypatch.setattr(Environment, "usable", lambda self: self.python.exists())
    return made(tmp_path / ".venv", "vllm,sglang")


def test_steps_from_nothing(tmp_path: Path) -> None:
    assert Environment(tmp_path / ".venv", "cpu").missing_steps() == ["venv", "engine", "project"]


def test_nothing_to_do(env: Environment) -> None:
    finish(env)
    assert env.missing_steps() == []


def test_interrupted_engine(env: Environment) -> None:
    assert env.missing_steps() == ["engine", "project"]


def test_new_dependency(env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(env)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert env.missing_steps() == ["project"]


def test_new_engine_version(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(env)
    monkeypatch.setattr(environment, "VLLM_VERSION", "0.32.1")
    assert env.missing_steps() == ["engine", "project"]


def test_sglang_is_a_step_more(both: Environment) -> None:
    plain = Environment(both.folder, "cpu")
    finish(plain)
    assert both.missing_steps() == ["sglang"]
    finish(both)
    assert both.missing_steps() == plain.missing_steps() == []


@pytest.mark.parametrize("name", ["REQUIREMENTS", "HOOK"])
def test_new_file_of_sglang(
    name: str, both: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(both)
    (tmp_path / "new").write_text("numpy\n")
    monkeypatch.setattr(sglang, name, tmp_path / "new")
    assert both.missing_steps() == ["sglang"]


def test_engine_anew_is_sglang_anew(both: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the set-up that redoes the engine does not want SGLang: it removes torchvision."""
    finish(both)
    both.stamp("engine").unlink()
    plain = Environment(both.folder, "cpu")
    for step in ("engine", "project"):
        monkeypatch.setitem(environment.INSTALL, step, lambda env, runner: None)
    environment.prepare(plain)
    assert plain.missing_steps() == []
    assert both.missing_steps() == ["sglang"]


def test_broken_python_is_made_anew(tmp_path: Path) -> None:
    env = Environment(tmp_path / ".venv", "cpu")
    env.python.parent.mkdir(parents=True)
    env.python.write_text("not a program")
    env.python.chmod(0o755)
    assert env.missing_steps()[0] == "venv"


def test_cpu_build_from_the_plain_index() -> None:
    runner = Recorder("2.13.0+cpu")
    environment.install_cpu_engine(runner)
    assert not any(environment.TORCH_CPU_INDEX in command for command in runner.commands)
    assert any(command.endswith("torch==2.13.0") for command in runner.commands)
    assert any("uninstall --yes torchvision" in command for command in runner.commands)
    assert runner.commands[-1].endswith("vllm-cpu-marker")


def test_cuda_build_is_not_downloaded(capsys: pytest.CaptureFixture[str]) -> None:
    runner = Recorder("2.13.0")
    environment.install_cpu_engine(runner)
    assert runner.commands[0].endswith(
        f"torch==2.13.0+cpu --extra-index-url {environment.TORCH_CPU_INDEX}"
    )
    assert "PyTorch's own index" in capsys.readouterr().err


def test_gpu_takes_the_stock_engine(tmp_path: Path) -> None:
    runner = Recorder()
    environment.install_engine(Environment(tmp_path, "gpu"), runner)
    assert runner.commands[-1].endswith(environment.VLLM_GPU)
    assert not any("cpu" in command.replace(str(tmp_path), "") for command in runner.commands)


def test_full_disk_is_refused_before_installing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment.DISK_GIB, "cpu", 1e9)
    env = Environment(tmp_path / ".venv", "cpu")
    with pytest.raises(SetupError, match="GiB free"):
        environment.prepare(env)
    assert not env.folder.exists()


def test_environment_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot make"):
        environment.create(Environment(tmp_path / "file" / ".venv", "cpu"))


def test_engine_versions_agree() -> None:
    """The marker stands for the version that is installed."""
    marker = (environment.MARKER / "pyproject.toml").read_text()
    assert f'version = "{environment.VLLM_VERSION}+cpu"' in marker


@pytest.mark.parametrize(
    ("version", "status"), [("3.6", 1), ("3.10", 1), ("3.11", 0), ("4.0", 0)], ids=str
)
def test_make_refuses_an_old_python(version: str, status: int, tmp_path: Path) -> None:
    """Also one so old that it could not read the scripts."""
    (tmp_path / "old").write_text(
        f"#!{sys.executable}\nimport sys\nif sys.argv[1] != '-c': sys.exit(0)\n"
        f"sys.version_info = ({version.replace('.', ', ')}, 0)\nexec(sys.argv[2])\n"
    )
    (tmp_path / "old").chmod(0o755)
    command = ["make", "--silent", "setup", f"PYTHON={tmp_path / 'old'}"]
    done = subprocess.run(
        command, cwd=environment.ROOT, capture_output=True, text=True, check=False
    )
    assert bool(done.returncode) == bool(status), done.stderr
    assert (f"Python {version} is too old" in done.stderr) == bool(status)


def test_make_without_python() -> None:
    command = ["make", "--silent", "setup", "PYTHON=no-such-python"]
    done = subprocess.run(
        command, cwd=environment.ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode
    assert "setup: error: no no-such-python; install Python 3.11" in done.stderr
