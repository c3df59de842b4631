"""Settings of a Hydra model and of PoE decoding, refused in one line each."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

RULES = ("original", "bonus")
TRUNKS = ("drafted", "verified")


@dataclass(frozen=True)
class HydraConfig:
    """The shape of a Hydra.

    Attributes:
        n_heads: heads, 2 or more: one drafts and the others verify.
        heads_depth: decoder layers of each head; the trunk has the target's others.

    Raises:
        ValueError: in one line.
    """

    n_heads: int = 5
    heads_depth: int = 3

    def __post_init__(self) -> None:
        check_whole("n_heads", self.n_heads, 2)
        check_whole("heads_depth", self.heads_depth, 1)

    def check_layers(self, layers: int) -> None:
        """Refuse a depth that leaves the trunk of a target of ``layers`` layers empty."""
        if self.heads_depth >= layers:
            raise ValueError(
                f"heads_depth={self.heads_depth}: the target has {layers} layers and its trunk"
                f" keeps at least one; expected 1 to {layers - 1}"
            )


def check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number of {least} or more")


def check_beta(value: object) -> None:
    if not _finite(value) or value <= 0:  # type: ignore[operator]
        raise ValueError(
            f"beta={value!r}: expected a positive number; 1 / (n_heads - 1) weighs the verifying"
            " heads as one model"
        )


def check_temperature(value: object) -> None:
    if not _finite(value) or value < 0:  # type: ignore[operator]
        raise ValueError(f"temperature={value!r}: expected 0 (greedy) or a positive number")


def check_draft_head(value: object, n_heads: int) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != "random" and not (whole and 0 <= value < n_heads):  # type: ignore[operator]
        raise ValueError(f"draft_head={value!r}: expected 0 to {n_heads - 1}, or 'random'")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(allowed)}")


def check_prompt(input_ids: Tensor) -> None:
    if input_ids.ndim != 2 or input_ids.shape[0] != 1 or not input_ids.numel():
        raise ValueError(f"input_ids: expected [1, tokens], got {list(input_ids.shape)}")
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"input_ids: expected int64 or int32 token ids, got {input_ids.dtype}")


def _finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
