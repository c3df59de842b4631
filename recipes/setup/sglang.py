"""The set-up step of SGLang: beside vLLM on a CPU, in an environment of its own on a GPU.

On a CPU this is a test bed: SGLang without its kernels, which takes its rotary embedding from vLLM.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .runner import Runner

SGLANG_VERSION = "0.5.23"
SGLANG_GPU = "sglang>=0.5.22,<0.6"
TORCHVISION_VERSION = "0.28.0"  # the one that was made for the engine step's torch
REQUIREMENTS = Path(__file__).resolve().parent / "sglang-cpu.txt"
HOOK = Path(__file__).resolve().parent / "torchvision_hook.py"
HOOK_MODULE = "longspec_torchvision_hook"
SMOKE_TEST = "import torchvision, vllm, sglang.srt.entrypoints.http_server"


def inputs() -> list[object]:
    """All that decides what this step installs, beside the device and the steps before it."""
    versions = (SGLANG_VERSION, SGLANG_GPU, TORCHVISION_VERSION)
    return [versions, REQUIREMENTS.read_bytes(), HOOK.read_bytes()]


def install_hook(site_packages: Path) -> None:
    """Let the torchvision of the package index be imported; ``torchvision_hook.py`` says why."""
    shutil.copyfile(HOOK, site_packages / f"{HOOK_MODULE}.py")
    start = f"import {HOOK_MODULE}; {HOOK_MODULE}.install()\n"
    (site_packages / f"{HOOK_MODULE}.pth").write_text(start, "utf-8")


def install_cpu(runner: Runner) -> None:
    """SGLang without its requirements, which are CUDA's, and the few that it needs on a CPU."""
    packages = (f"sglang=={SGLANG_VERSION}", f"torchvision=={TORCHVISION_VERSION}")
    runner.install("--no-deps", *packages)
    runner.install("--requirement", str(REQUIREMENTS))
    install_hook(next((runner.python.parents[1] / "lib").glob("python3*/site-packages")))
    runner.run([str(runner.python), "-c", SMOKE_TEST], "SGLang's first import")


def install_gpu(runner: Runner, project: str, build_tools: Sequence[str]) -> None:
    """Stock SGLang in ``.venv-sglang``: it and vLLM pin different builds of torch. Not yet run."""
    folder = runner.python.parents[1].with_name(".venv-sglang")
    runner.run([sys.executable, "-m", "venv", "--clear", str(folder)], "python -m venv")
    own = Runner(folder / "bin" / "python", runner.log, runner.progress)
    own.install("--upgrade", *build_tools)
    own.install(SGLANG_GPU)
    own.install("--no-build-isolation", "--editable", project)
