"""Prompts for exactness: the built-in evaluation set in the target's chat format."""

from __future__ import annotations

import json
from pathlib import Path

BUILTIN = Path(__file__).parents[2] / "eval" / "datasets" / "data" / "builtin.jsonl"


def chat_prompts(count: int, longest: int = 2600) -> list[str]:
    """``count`` prompts, spread over the categories, none over ``longest`` characters."""
    rows = [json.loads(line) for line in BUILTIN.read_text().splitlines() if line.strip()]
    single = [row["turns"][0] for row in rows if len(row["turns"]) == 1]
    texts = [text for text in single if len(text) <= longest]
    step = len(texts) / count
    return [_chat(texts[int(i * step)]) for i in range(count)]


def _chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
