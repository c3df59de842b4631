"""Our own prompts in eleven categories, some long and some of several turns; shipped here."""

from __future__ import annotations

from pathlib import Path

from . import jsonl
from .prompt import Prompt
from .rows import filled

PATH = Path(__file__).parent.parent / "data" / "builtin.jsonl"


def load() -> list[Prompt]:
    """Read the built-in prompts."""
    return jsonl.of_rows(filled(PATH))
