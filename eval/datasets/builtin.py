"""Our own prompts in eleven categories, some long and some of several turns; shipped here."""

from __future__ import annotations

from pathlib import Path

from . import jsonl
from .prompt import Prompt
from .rows import filled

DATA = Path(__file__).parent / "data"
"""What is shipped: our own prompts, and small samples of the offline evaluations' tasks."""
PATH = DATA / "builtin.jsonl"


def load() -> list[Prompt]:
    """Read the built-in prompts."""
    return jsonl.of_rows(filled(PATH))
