"""A trainer on the tiny target."""

from pathlib import Path

import torch

from proposers.train.trainer.settings import TrainSettings
from proposers.train.trainer.trainer import Trainer

from .tiny import write_shard, write_target


def settings(folder: Path, **more: object) -> TrainSettings:
    """Half an epoch over two shards with 5 logits a token."""
    for number in range(2):
        write_shard(folder / "features", number, top=5)
    values = {
        "target": write_target(folder / "target"),
        "data": folder,
        "draft_vocab": 30,
        "batch_tokens": 100,
        "window": 12,
        "epochs": 0.5,
    }
    return TrainSettings.read(None, {**values, **more})


def trainer(folder: Path, dtype: torch.dtype = torch.bfloat16, **more: object) -> Trainer:
    return Trainer(settings(folder, **more), dtype=dtype)


def weights(folder: Path) -> torch.Tensor:
    """All of a saved run's weights, end to end."""
    state = torch.load(folder / "state" / "state.pt", weights_only=True)
    return torch.cat([t.flatten() for t in state["layer"].values()])
