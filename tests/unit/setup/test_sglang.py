"""SGLang's step: what it asks pip for, and the hook that lets torchvision be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from recipes.setup import environment, sglang
from recipes.setup.console import Progress
from recipes.setup.environment import Environment
from recipes.setup.runner import Runner

# What a torchvision that cannot load its compiled half does: it describes operators.
TORCHVISION = """
import torch
torch.library.register_fake("torchvision::nms")(lambda *arguments: None)
torch.library.register_fake("torchvision::qnms")(lambda *arguments: None)
"""


class Recorder(Runner):
    """Notes commands instead of running them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "bin" / "python", folder / "setup.log", Progress(1))
        self.commands: list[str] = []

    def run(self, command, name):  # type: ignore[no-untyped-def]
        self.commands.append(" ".join(command))


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    folder = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    folder.mkdir(parents=True)
    return folder


def run_python(site_packages: Path, code: str) -> subprocess.CompletedProcess[str]:
    """``code`` in a Python with ``site_packages`` and then torch, without the hook of this one."""
    installed = str(Path(torch.__file__).parents[1])
    paths = (
        f"import site, sys; site.addsitedir({str(site_packages)!r}); sys.path += [{installed!r}]"
    )
    command = [sys.executable, "-S", "-c", f"{paths}\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_cpu_leaves_the_versions_of_vllm(tmp_path: Path, site_packages: Path) -> None:
    runner = Recorder(tmp_path / ".venv")
    sglang.install_cpu(runner)
    stock, needs, smoke = runner.commands
    assert f"--no-deps sglang=={sglang.SGLANG_VERSION} torchvision==" in stock
    assert needs.endswith(str(sglang.REQUIREMENTS))
    assert smoke.endswith(sglang.SMOKE_TEST)
    assert (site_packages / f"{sglang.HOOK_MODULE}.pth").is_file()


def test_gpu_has_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(
        Runner, "run", lambda self, command, name: commands.append(" ".join(command))
    )
    env = Environment(tmp_path / ".venv", "gpu", engines="vllm,sglang")
    runner = Runner(env.python, env.folder / "setup.log", Progress(1))
    environment.install_sglang(env, runner)
    assert commands[0].endswith(f"-m venv --clear {tmp_path / '.venv-sglang'}")
    assert all(c.startswith(str(tmp_path / ".venv-sglang")) for c in commands[1:])
    assert commands[2].endswith(sglang.SGLANG_GPU)
    assert commands[3].endswith(env.project)


def test_hook_defines_the_operators(site_packages: Path) -> None:
    (site_packages / "torchvision.py").write_text(TORCHVISION)
    without = run_python(site_packages, "import torchvision")
    assert "torchvision::nms does not exist" in without.stderr
    sglang.install_hook(site_packages)
    done = run_python(site_packages, "import torchvision, torch; torch.ops.torchvision.qnms")
    assert done.returncode == 0, done.stderr


def test_hook_waits_for_torchvision(site_packages: Path) -> None:
    sglang.install_hook(site_packages)
    code = "import importlib.util; importlib.util.find_spec('torchvision')"
    assert run_python(site_packages, f"{code}; sys.exit('torch' in sys.modules)").returncode == 0


def test_hook_without_torchvision(site_packages: Path) -> None:
    """It stays behind when the engine step removes torchvision."""
    sglang.install_hook(site_packages)
    done = run_python(site_packages, "sys.path.pop(); import torchvision")
    assert "ModuleNotFoundError: No module named 'torchvision'" in done.stderr


def test_versions_agree() -> None:
    """The range for a GPU is the project's own, and the CPU's version lies in it."""
    assert f'"{sglang.SGLANG_GPU}"' in (environment.ROOT / "pyproject.toml").read_text()
    assert sglang.SGLANG_VERSION in Requirement(sglang.SGLANG_GPU).specifier
