"""What a draft was trained with, beside its weights: ``training.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "training.json"
ELSEWHERE = ("target", "name", "data", "features", "out", "state", "threads", "device")
"""Settings that tell of a machine and its folders, not of the draft."""


def write(draft: Path, settings: Mapping[str, Any]) -> None:
    """Keep a training run's settings (``TrainSettings`` as JSON types) in its draft folder."""
    told = {key: value for key, value in settings.items() if key not in ELSEWHERE}
    path = draft / FILE
    path.with_suffix(".tmp").write_text(json.dumps(told, indent=1) + "\n")
    path.with_suffix(".tmp").replace(path)


def changes(draft: Path, base: Path) -> str:
    """What ``draft`` was trained with and ``base`` was not; empty where one does not say."""
    mine, theirs = _read(draft), _read(base)
    if not mine or not theirs:
        return ""
    return as_text({key: value for key, value in mine.items() if value != theirs.get(key)})


def as_text(settings: Mapping[str, Any]) -> str:
    """``layers 2, lag_weights [1]``."""
    told = {k: v if isinstance(v, str) else json.dumps(v) for k, v in settings.items()}
    return ", ".join(f"{key} {value}" for key, value in told.items())


def _read(draft: Path) -> dict[str, Any]:
    path = draft / FILE
    return dict(json.loads(path.read_text())) if path.exists() else {}
