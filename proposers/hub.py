"""Models by their names on the Hugging Face hub: from its cache, or the network."""

from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"[\w.-]+/[\w.-]+")
"""``owner/name``."""
NEEDED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Configuration, weights and tokenizer."""
PICKLED = ("*.bin", "*.pth")
"""Weights where there are no safetensors."""


def model_folder(path: str | Path) -> Path:
    """The folder of a model, or its file of weights: a path, else a name on the hub.

    Raises:
        ValueError: in one line, for a name that neither the cache nor the network knows.
    """
    given = Path(path).expanduser()
    if given.exists() or not NAME.fullmatch(str(path)) or given.parent.exists():
        return given
    folder = _snapshot(str(path), NEEDED)
    if not any(folder.glob("*.safetensors")):
        folder = _snapshot(str(path), (*NEEDED, *PICKLED))
    return folder


def _snapshot(name: str, patterns: tuple[str, ...]) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise ValueError(
            f"{name} is no folder, and a name on the hub needs: pip install huggingface_hub"
        ) from None
    try:
        got = snapshot_download(name, allow_patterns=list(patterns), ignore_patterns=["*/*"])
    except LocalEntryNotFoundError:
        raise ValueError(
            f"{name} is neither a folder here nor in the hub's cache, and the hub cannot be reached"
            " (offline, or no network); give a folder, or fill the cache"
        ) from None
    except (HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} is no folder here, and the hub says: {reason}") from None
    return Path(got)
