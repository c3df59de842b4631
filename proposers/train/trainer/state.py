"""The state of a run on disk: whole after kill -9, and the same run when it goes on."""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from .settings import TrainSettings

FILE = "state.pt"
FIXED = (
    "init",
    "initial",
    "layers",
    "hidden_state_input",
    "final_norm",
    "window",
    "draft_vocab",
    "optimizer",
    "weight_decay",
    "lag_weights",
    "batch_tokens",
    "prompt_tail",
    "max_tokens",
    "seed",
)
"""Settings that a run cannot change on the way: which tensors there are, and what is done of a pass
over the data."""

BROKEN = LookupError, EOFError, OSError, RuntimeError, TypeError, pickle.UnpicklingError
"""What reading a torn file may raise."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: passes over the data that are done.
        shards: shards that the present pass is about.
        groups, of: micro-batches of the present pass that are done, and that there are.
        steps, positions: optimiser steps and trained positions in all.
        seconds: time spent on them.
        losses: of the steps since the last test.
        log: a row of the curves for each test.
        tests: ids of the sequences that are tested on, the same from the first test to the last.
    """

    epoch: int = 0
    shards: int = 0
    groups: int = 0
    of: int = 1
    steps: int = 0
    positions: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)


def save(
    folder: Path, settings: TrainSettings, progress: Progress, tensors: dict[str, Any]
) -> None:
    """Replace the saved state; it is renamed into place when it is on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{FILE}.tmp"
    fixed = {name: str(getattr(settings, name)) for name in FIXED}
    with temporary.open("wb") as file:
        torch.save({"fixed": fixed, "progress": asdict(progress), **tensors}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE)


def load(folder: Path, settings: TrainSettings) -> tuple[Progress, dict[str, Any]] | None:
    """What was saved, or None at the start of a run.

    Raises:
        ValueError: in one line, if it cannot be read, or is of a run with other settings.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        fixed, progress = state.pop("fixed"), Progress(**state.pop("progress"))
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); delete it to start again") from None
    for name in FIXED:
        asked = str(getattr(settings, name))
        if fixed.get(name) != asked:
            raise ValueError(
                f"{name}={asked}: the run in {folder} has {name}={fixed.get(name)}; keep that, or"
                " name another --state and --out for a new run"
            )
    return progress, state
