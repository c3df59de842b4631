"""The stand-in for the trunk while a block is drafted without it (PoE's ``trunk="verified"``).

A head needs the trunk's state of the last token, which is only computed when the block is verified.
It is guessed from the head's own output ``o`` one position before and the token's embedding:
``h = W [o; E[x]] + b``. However wrong the guess, only acceptance suffers: verification reads the
trunk's true states. ``recipes/hydra`` fits W by least squares.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


class Bridge(nn.Module):
    """``[B, T, H]`` states and embeddings to guessed trunk states ``[B, T, H]``."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, states: Tensor, embedded: Tensor) -> Tensor:
        guessed: Tensor = self.linear(torch.cat([states, embedded], dim=-1))
        return guessed


def load_bridge(path: Path, hidden_size: int) -> Bridge:
    """Read ``weight [H, 2 H]`` and ``bias [H]``.

    Raises:
        ValueError: in one line that names tensor and both shapes.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"bridge {path} cannot be read: {str(error).splitlines()[0]}") from None
    bridge = Bridge(hidden_size)
    own = dict(bridge.linear.named_parameters())
    for name, parameter in own.items():
        found = list(tensors[name].shape) if name in tensors else "nothing"
        if found != list(parameter.shape):
            raise ValueError(f"bridge {path}: {name} is {found}, expected {list(parameter.shape)}")
    bridge.linear.load_state_dict({name: tensors[name].to(torch.float32) for name in own})
    return bridge
