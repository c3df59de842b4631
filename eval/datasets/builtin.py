"""Our own prompts: six in each of eleven categories, shipped with the package."""

from __future__ import annotations

from pathlib import Path

from . import jsonl

PATH = Path(__file__).parent.parent / "data" / "builtin.jsonl"


def load() -> list[jsonl.Prompt]:
    """Read the built-in prompts."""
    return jsonl.load(PATH)
