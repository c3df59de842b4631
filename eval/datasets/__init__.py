"""Prompts to measure on: ``load`` reads a data set, ``spread`` takes an even share of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from pathlib import Path

from ..errors import UserError
from . import builtin, jsonl
from .jsonl import Prompt

__all__ = ["Prompt", "chosen", "load", "spread"]


def load(name: str) -> list[Prompt]:
    """Read ``builtin`` or the JSONL file of that path."""
    if name == "builtin":
        return builtin.load()
    path = Path(name)
    if not path.is_file():
        raise UserError(f"--dataset {name}: no such file; give builtin or the path of a JSONL file")
    return jsonl.load(path)


def chosen(prompts: Sequence[Prompt], categories: str | None) -> list[Prompt]:
    """Keep the prompts of the comma-separated categories; all of them if None."""
    if categories is None:
        return list(prompts)
    there = dict.fromkeys(prompt.category for prompt in prompts)
    names = categories.split(",")
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"--categories {unknown[0]}: unknown; the data set has {', '.join(there)}")
    return [prompt for prompt in prompts if prompt.category in names]


def spread(prompts: Sequence[Prompt], count: int | None) -> list[Prompt]:
    """Take ``count`` prompts, one of each category in turn; all of them if None."""
    if count is not None and count > len(prompts):
        raise UserError(
            f"--num-prompts {count}: the data set has {len(prompts)} prompts;"
            f" give 1 to {len(prompts)}"
        )
    groups: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.category, []).append(prompt)
    dealt = chain.from_iterable(zip_longest(*groups.values()))
    return [prompt for prompt in dealt if prompt is not None][:count]
