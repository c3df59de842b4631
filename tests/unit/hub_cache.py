"""A cache laid out as the hub's: blobs by digest, snapshots of links to them, a ref."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

REVISION = "0123456789abcdef0123456789abcdef01234567"


def cached(cache: Path, name: str, folder: Path) -> Path:
    """Put a folder's files into the cache as the model ``name``; returns the snapshot."""
    model = cache / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / REVISION
    for place in (snapshot, model / "blobs", model / "refs"):
        place.mkdir(parents=True)
    (model / "refs" / "main").write_text(REVISION)
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = model / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the hub's library look there, and nowhere else."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
