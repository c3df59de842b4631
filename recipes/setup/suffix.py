"""Make vLLM's suffix decoding work without Arctic Inference as a whole: its suffix tree alone.

    PYTHONPATH=$(.venv/bin/python recipes/setup/suffix.py) .venv/bin/vllm serve MODEL \\
      --speculative-config '{"method": "suffix"}'

vLLM's method ``suffix`` is vLLM's own but for the trees, which it imports from Arctic Inference
(Apache-2.0). That package as a whole is made for GPUs and asks for another torch to be built. Its
source is downloaded, the one extension that is needed is compiled, unchanged, and both lie in a
cache, whose folder is printed. Nothing is installed into the environment.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recipes.setup.checks import check_compiler, check_disk
from recipes.setup.console import Progress, SetupError, run_main
from recipes.setup.runner import PIP_OPTIONS, Runner
from recipes.setup.target import cache_folder

VERSION = "0.3.0"
SOURCE = f"arctic_inference=={VERSION}"
TOOLS = ("cmake", "nanobind==2.9.2", "ninja")  # nanobind as the source's own build asks for
PACKAGE, PART = "arctic_inference", "suffix_decoding"
OWN = (f"{PART}/__init__.py", f"{PART}/cache.py")
FILES = ("LICENSE", *(f"{PACKAGE}/{name}" for name in ("__init__.py", *OWN)))
DISK_GIB = 0.5


def suffix_folder() -> Path:
    """Where it is kept, for this Python, whether it is there or not."""
    return cache_folder() / f"{PACKAGE}-{VERSION}-{sys.implementation.cache_tag}"


def extension() -> str:
    """The compiled module's path in the folder."""
    return f"{PACKAGE}/{PART}/_C{sysconfig.get_config_var('EXT_SUFFIX')}"


def complete(folder: Path) -> bool:
    """Whether ``folder``, which is renamed into place when whole, holds all files."""
    return all((folder / name).is_file() for name in (*FILES, extension()))


def download(runner: Runner, work: Path) -> Path:
    """Fetch the source and unpack it; return its folder."""
    options = (*PIP_OPTIONS, "--progress-bar", "off", "--no-deps", "--no-build-isolation")
    runner.pip("download", *options, "--no-binary=:all:", "--dest", str(work), SOURCE)
    try:
        with tarfile.open(next(work.glob("*.tar.gz"))) as archive:
            archive.extractall(work, filter="data")
        return next(path for path in work.iterdir() if (path / PACKAGE).is_dir())
    except (StopIteration, tarfile.TarError):
        raise SetupError(f"{SOURCE} came without {PACKAGE}; run `pip cache purge`, retry") from None


def build(runner: Runner, source: Path, work: Path) -> Path:
    """Compile the extension with tools of an environment of their own; return its file."""
    venv.create(work / "tools", with_pip=True)
    tools = work / "tools" / "bin"
    python = [str(tools / "python"), "-m", "pip", "install"]
    runner.run([*python, *PIP_OPTIONS, "--progress-bar", "off", *TOOLS], "pip install")
    cmake, folder = [str(tools / "cmake")], work / "build"
    chosen = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_MAKE_PROGRAM": tools / "ninja",
        "Python_EXECUTABLE": tools / "python",
    }
    given = [f"-D{name}={value}" for name, value in chosen.items()]
    where = ["-S", str(source / "csrc" / PART), "-B", str(folder)]
    runner.run([*cmake, *where, "-GNinja", *given], "cmake")
    runner.run([*cmake, "--build", str(folder)], "the compilation")
    return folder / Path(extension()).name


def place(source: Path, module: Path, folder: Path) -> None:
    """Bring what is needed together and move it to ``folder`` in one step."""
    made = module.parent.parent / folder.name
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, made / name)
    shutil.copyfile(module, made / extension())
    if not complete(folder):  # else another process was quicker
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def prepare() -> Path:
    """Make it if it is not there; return the folder for ``PYTHONPATH``.

    Raises:
        SetupError: one line that says what to do.
    """
    folder = suffix_folder()
    if complete(folder):
        return folder
    check_compiler()
    check_disk(folder, DISK_GIB)
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(2)
    runner = Runner(Path(sys.executable), folder.parent / "suffix.log", progress)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder.parent) as temporary:
        work = Path(temporary)
        progress.start(f"source of {SOURCE}")
        source = download(runner, work)
        progress.done()
        progress.start("its suffix tree, compiled")
        place(source, build(runner, source, work), folder)
        progress.done()
    return folder


def main() -> None:
    """Prepare it and print its folder on standard output."""
    print(prepare())


if __name__ == "__main__":
    sys.exit(run_main(main))
