"""Make an environment with the next vLLM's Python code and this one's CPU libraries, for tests.

    python3 recipes/setup/vllm_next.py [--folder .venv-vllm-0.33] [--version 0.33.0]

No CPU build of that version exists. Its Python files come from the wheel for GPUs (350 MB, kept
in a cache); the compiled libraries and all other packages are those of ``.venv``, which must be
there. What that version added to the libraries is missing. A stamp makes a second run take no time.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recipes.setup import checks
from recipes.setup.console import Progress, SetupError, run_main, say
from recipes.setup.runner import PIP_OPTIONS, Runner
from recipes.setup.target import cache_folder

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.33.0"
KEPT = (".py", ".jinja")
DISK_GIB = 1.0
BASE_LINK = "longspec_base.pth"
SCRIPT = """#!{python}
import sys
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":  # processes that vLLM starts import this file
    sys.exit(main())
"""
SMOKE_TEST = """
import importlib.metadata as metadata, pathlib, sys
import vllm, vllm.v1.worker.gpu.model_runner
assert pathlib.Path(vllm.__file__).is_relative_to(sys.prefix), vllm.__file__
assert metadata.version("vllm").endswith("+cpu"), metadata.version("vllm")
found = [point.name for point in metadata.entry_points(group="vllm.general_plugins")]
assert "longspec" in found, f"the project's entry point is missing: {found}"
"""


class NextEnvironment:
    """The environment in ``folder``: vLLM ``version`` on top of the packages of ``base``."""

    def __init__(self, folder: Path, version: str, base: Path) -> None:
        self.folder = folder
        self.version = version
        self.base = base
        self.python = folder / "bin" / "python"
        self.stamp = folder / ".longspec-vllm-next"

    def packages(self, folder: Path) -> Path:
        """The folder of packages of the environment in ``folder``."""
        found = next((folder / "lib").glob("python3*/site-packages"), None)
        if found is None:
            raise SetupError(f"{folder} is no environment; run `make setup` first")
        return found

    def libraries(self) -> list[Path]:
        """The compiled libraries of the base's vLLM, relative to its packages."""
        packages = self.packages(self.base)
        return sorted(path.relative_to(packages) for path in (packages / "vllm").rglob("*.so"))

    def key(self) -> str:
        """Hash of all that decides what the environment holds."""
        sizes = [
            (str(path), (self.packages(self.base) / path).stat().st_size)
            for path in self.libraries()
        ]
        inputs = (self.version, str(self.base), sizes, Path(__file__).read_bytes())
        return hashlib.sha256(repr(inputs).encode()).hexdigest()

    def finished(self) -> bool:
        """Whether it was made with today's inputs."""
        return self.stamp.is_file() and self.stamp.read_text("utf-8") == self.key()


def find_wheel(folder: Path, version: str) -> Path | None:
    """The wheel of vLLM ``version`` in ``folder``, if it is whole."""
    wheels = (path for path in folder.glob(f"vllm-{version}-*.whl") if zipfile.is_zipfile(path))
    return next(wheels, None)


def download(runner: Runner, folder: Path, version: str) -> Path:
    """The wheel of vLLM ``version``, downloaded into ``folder`` if it is not there."""
    if find_wheel(folder, version) is None:
        options = (*PIP_OPTIONS, "--progress-bar", "off", "--no-deps", "--only-binary=:all:")
        runner.pip("download", *options, "--dest", str(folder), f"vllm=={version}")
    wheel = find_wheel(folder, version)
    if wheel is None:
        raise SetupError(f"no whole wheel of vllm {version} in {folder}; remove it and run again")
    return wheel


def unpack(wheel: Path, version: str, packages: Path) -> None:
    """vLLM's Python files, and metadata that call it a CPU build."""
    info = f"vllm-{version}.dist-info"
    made = packages / f"vllm-{version}+cpu.dist-info"
    made.mkdir()
    with zipfile.ZipFile(wheel) as source:
        for name in source.namelist():
            if name.startswith("vllm/") and name.endswith(KEPT):
                source.extract(name, packages)
        (made / "entry_points.txt").write_bytes(source.read(f"{info}/entry_points.txt"))
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
    (made / "METADATA").write_text(metadata, "utf-8")


def link(env: NextEnvironment) -> None:
    """The base's compiled libraries, and behind vLLM all of the base's packages."""
    base, packages = env.packages(env.base), env.packages(env.folder)
    for library in env.libraries():
        (packages / library).parent.mkdir(parents=True, exist_ok=True)
        (packages / library).symlink_to(base / library)
    # `addsitedir`, as a plain path would not run the base's own .pth files (editable installs).
    line = f"import site; site.addsitedir({str(base)!r})\n"
    (packages / BASE_LINK).write_text(line, "utf-8")
    script = env.folder / "bin" / "vllm"
    script.write_text(SCRIPT.format(python=env.python), "utf-8")
    script.chmod(0o755)


def preflight(env: NextEnvironment, cache: Path) -> None:
    """Refuse at once what would fail later."""
    if not (env.base / "bin" / "python").exists() or not env.libraries():
        raise SetupError(f"{env.base} has no vLLM for CPUs; run `make setup` there first")
    if find_wheel(cache, env.version) is None:
        checks.check_disk(cache, DISK_GIB)
    checks.check_disk(env.folder, DISK_GIB)
    if env.folder.exists() and not (env.folder / "pyvenv.cfg").is_file():
        raise SetupError(f"{env.folder} is there and no environment; choose another --folder")


def prepare(env: NextEnvironment, cache: Path) -> None:
    """Make the environment if it is not there."""
    preflight(env, cache)
    if env.finished():
        return
    cache.mkdir(parents=True, exist_ok=True)
    env.stamp.unlink(missing_ok=True)
    base_python, log = env.base / "bin" / "python", cache / "vllm-next.log"
    say(f"{env.folder} with vLLM {env.version} for tests (log: {log})")
    progress = Progress(3)
    runner = Runner(base_python, log, progress)
    progress.start(f"wheel of vLLM {env.version} (350 MB the first time)")
    wheel = download(runner, cache, env.version)
    progress.done()
    progress.start("environment and vLLM's Python files")
    venv = [str(base_python), "-m", "venv", "--clear", "--without-pip", str(env.folder)]
    runner.run(venv, "python -m venv")
    unpack(wheel, env.version, env.packages(env.folder))
    link(env)
    compileall = ("-m", "compileall", "-q", "-j0", str(env.packages(env.folder) / "vllm"))
    runner.run([str(base_python), *compileall], "compileall")
    progress.done()
    progress.start("first import")
    runner.run([str(env.python), "-c", SMOKE_TEST], "the first import")
    env.stamp.write_text(env.key(), "utf-8")
    progress.done()


def main() -> None:
    """Read the options and make the environment."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    folder = ROOT / f".venv-vllm-{VERSION.rpartition('.')[0]}"
    parser.add_argument("--folder", type=Path, default=folder, help="environment to make")
    parser.add_argument("--version", default=VERSION, help="version of vLLM")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the rest is from")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder() / "wheels", help="for the wheel"
    )
    options = parser.parse_args()
    checks.check_platform()
    env = NextEnvironment(options.folder.absolute(), options.version, options.venv.absolute())
    prepare(env, options.cache.absolute())


if __name__ == "__main__":
    sys.exit(run_main(main))
