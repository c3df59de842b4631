"""What is measured, the same for all pieces; saved as ``gpu-run.json`` beside their results."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from recipes.offline.random_llama import SHAPES

ROOT = Path(__file__).resolve().parents[2]
FILE = "gpu-run.json"
LIKE_OURS = 8192
"""Tokens that a draft of this project may propose; they are why its head is small."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        device: ``cuda``; ``cpu`` tries the pieces out and measures nothing.
        shapes: sizes of the target, a key of :data:`recipes.offline.random_llama.SHAPES`.
        contexts, batches: all pairs of which cycles are measured, where the card has room.
        tree: nodes of each level.
        draft_vocab: size of the draft's vocabulary, 0: the target's whole one.
        tokens: new tokens of a measured run.
        repeats: measured runs of a pair, of which the median counts.
        trace: write where a cycle's time goes; what that costs is in the cycle.
    """

    device: str = "cuda"
    shapes: str = "llama-3-8b"
    contexts: tuple[int, ...] = (512, 8192, 32768)
    batches: tuple[int, ...] = (1, 8, 32)
    tree: tuple[int, ...] = (4, 6, 4, 2)
    draft_vocab: int = LIKE_OURS
    tokens: int = 64
    repeats: int = 5
    trace: bool = True

    @property
    def sizes(self) -> dict[str, int]:
        return SHAPES[self.shapes]

    @property
    def dtype(self) -> str:
        """float32 on a CPU: Triton's interpreter cannot multiply bfloat16."""
        return "bfloat16" if self.device == "cuda" else "float32"

    @property
    def nodes(self) -> int:
        return sum(self.tree)

    @property
    def longest(self) -> int:
        """Tokens that the longest request may have."""
        return max(self.contexts) + self.tokens + 2 * (1 + self.nodes) + 16

    def told(self) -> str:
        """In words, for a table's title."""
        vocabulary = f"draft vocabulary {self.draft_vocab:,}" if self.draft_vocab else "whole head"
        tree = f"tree {list(self.tree)} of {self.nodes} nodes"
        return f"{self.shapes} shapes, random weights, {self.dtype}, {tree}, {vocabulary}"

    def environment(self) -> dict[str, str]:
        """Of every piece's process."""
        return {**os.environ, "PYTHONPATH": _paths(ROOT)}

    def engine_environment(self) -> dict[str, str]:
        """Of an engine's; on a CPU it runs kernels in Triton's interpreter."""
        if self.device == "cuda":
            return self.environment()
        paths = _paths(ROOT / "tests" / "interpreter", ROOT)
        return {**os.environ, "PYTHONPATH": paths, "LONGSPEC_INTERPRET": "1"}

    def save(self, folder: Path, where: dict[str, Any]) -> None:
        """Write it, with where and by which command it was begun."""
        write(folder / FILE, {"plan": asdict(self), **where})

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Raises ValueError where the folder holds no run."""
        found = read(folder / FILE)
        if found is None:
            raise ValueError(f"{folder} holds no {FILE}; name the --out of a run")
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in found["plan"].items() if name in known}
        lists: dict[str, Any] = {k: tuple(v) for k, v in given.items() if isinstance(v, list)}
        return cls(**given | lists)


def _paths(*first: Path) -> str:
    """``PYTHONPATH`` with more at its front."""
    before = filter(None, [os.environ.get("PYTHONPATH")])
    return os.pathsep.join([*map(str, first), *before])


def read(path: Path) -> Any:
    """A JSON file's content; None where it is missing or torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def write(path: Path, found: Any) -> None:
    """Replace a JSON file in one step: a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(found, indent=2) + "\n")
    half.replace(path)
