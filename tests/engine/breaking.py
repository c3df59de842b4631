"""Switching parts of verification off in a server that runs, for negative controls.

Servers run in other processes, so the switch is a file: ``LONGSPEC_BREAK`` names it, and it says
nothing, or one of ``PARTS`` or ``RULES``. A proposer of the tests reads it at every step.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from proposers.tree import DraftTrees, ancestor_mask

_FACT = {
    "type": "object",
    "properties": {"fact": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["fact", "year"],
}
FACTS = {
    "name": "facts",
    "schema": {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "facts": {"type": "array", "items": _FACT}},
        "required": ["topic", "facts"],
    },
}
PARTS = ("kv_move", "mask", "positions")
RULES: dict[str, dict[str, Any]] = {
    "penalties": {"presence_penalty": 2.0, "frequency_penalty": 0.5},
    "grammars": {"response_format": {"type": "json_schema", "json_schema": FACTS}},
}
"""Rules along the text that are not kept up with the path, and requests that then go wrong."""
REPEATS = [f"{word} " * 12 for word in ("one", "la", "no,", "2", "and on", "ha")]
"""Prompts that go on as they are, were it not for penalties."""


def wanted() -> str:
    """The part that is to be broken now."""
    return Path(os.environ["LONGSPEC_BREAK"]).read_text().strip()


def all_before(trees: DraftTrees) -> Tensor:
    """Each row sees all rows before it: a causal mask instead of the tree's."""
    return ancestor_mask(trees).fill_(True).tril()
