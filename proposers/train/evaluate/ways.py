"""The ways to draft that are compared: a registered proposer with options, and a draft folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from ...base import Proposer, TargetModel
from ...glide.checkpoint import FILES
from ...glide.config import GlideConfig
from ...registry import load_proposer

SERVED = "served"
COUNTING = 3
"""Of results in journals; another number makes them anew."""


@dataclass(frozen=True)
class Way:
    """One line of the tables.

    Attributes:
        name: of its tree shape, or ``served``.
        proposer: a registered name or a dotted path.
        options: the proposer's own.
    """

    name: str
    draft: Path
    proposer: str
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Tells results apart; a draft that was trained on is another draft."""
        options = json.dumps(self.options, sort_keys=True)
        return f"{COUNTING}|{fingerprint(self.draft)}|{self.proposer}|{options}"

    def load(self, target: TargetModel) -> Proposer:
        """The proposer with its weights beside the target's.

        Raises:
            ValueError: one line, for a wrong name, option, draft or target.
        """
        proposer = load_proposer(self.proposer)(self.draft, self.options)
        proposer.check_target(target.shape)
        proposer.bind(target)
        return proposer


def served(draft: Path, proposer: str, options: Mapping[str, Any]) -> Way:
    """As an engine would serve it: what ``config.json`` says, and what is chosen over it."""
    said = dict(GlideConfig.from_pretrained(draft).longspec_config)
    name = said.pop("proposer", "glide")
    if proposer not in ("", name):
        said = {}  # options of another proposer
    return Way(SERVED, draft, proposer or name, {**said, **options})


def shaped(draft: Path, shape: list[int]) -> Way:
    """The plain proposer ``glide`` with trees of this shape, nothing pruned."""
    return Way(shape_name(shape), draft, "glide", {"tree_shape": shape, "min_probability": 0.0})


def shape_name(shape: list[int]) -> str:
    """``4-6-4-2``."""
    return "-".join(map(str, shape))


def fingerprint(draft: Path) -> str:
    """Of a draft folder's configuration and weights."""
    digest = blake2b(digest_size=6)
    for name in ("config.json", *FILES):
        path = draft / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def on_device(target: TargetModel, device: str) -> TargetModel:
    """The target's pieces where the draft runs.

    Raises:
        ValueError: one line, when torch has no such device.
    """
    try:
        where = torch.device(device)
        moved = [t.to(where) for t in (target.embedding, target.head, target.final_norm)]
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r}: {str(error).splitlines()[0]}") from None
    return TargetModel(target.shape, *moved)
