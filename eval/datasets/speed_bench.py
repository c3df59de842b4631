"""SPEED-Bench, from a local copy: parquet or JSONL, with ``turns`` or NeMo's ``messages``.

The data set is under the NVIDIA Evaluation Dataset License. None of it is shipped here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..cli.errors import UserError
from . import fetched as places
from .jsonl import system_of, turns_of
from .prompt import Prompt
from .rows import Row, filled, prompts

NAME = "speed-bench"
CONFIGS = (
    "qualitative",
    "throughput_1k",
    "throughput_2k",
    "throughput_8k",
    "throughput_16k",
    "throughput_32k",
)
ENTROPIES = ("low_entropy", "mixed", "high_entropy")
LICENSE = (
    "NVIDIA Evaluation Dataset License,"
    " https://huggingface.co/datasets/nvidia/SPEED-Bench/blob/main/License.pdf"
)


def load(path: Path, config: str | None) -> list[Prompt]:
    """Read one configuration of a folder (``qualitative`` if None), ``all`` of them, or a file.

    With ``all``, ids are ``CONFIG/ID``, as one question may be in several of them.
    """
    if path.is_file():
        if config:
            raise UserError(f"--config {config}: {path} is a single file; leave it out")
        return of_rows(filled(path))
    names = CONFIGS if config == "all" else (config or CONFIGS[0],)
    found = {name: prompts(_rows(path, name), _prompt) for name in names}
    _tell()
    if config != "all":
        return found[names[0]]
    return [
        prompt.model_copy(update={"prompt_id": f"{name}/{prompt.prompt_id}"})
        for name, several in found.items()
        for prompt in several
    ]


def _tell() -> None:
    print(f"{NAME}: {LICENSE}; none of it is part of this project", file=sys.stderr)


def _rows(folder: Path, name: str) -> list[Row]:
    """``NAME.jsonl``, ``NAME.parquet`` or the files of a folder ``NAME``."""
    for suffix in (".jsonl", ".parquet"):
        if (folder / f"{name}{suffix}").is_file():
            return filled(folder / f"{name}{suffix}")
    if files := sorted([*folder.glob(f"{name}/*.jsonl"), *folder.glob(f"{name}/*.parquet")]):
        return [row for file in files for row in filled(file)]
    raise UserError(
        f"--dataset {NAME}: no {name} in {folder}; run {places.command(NAME, name)}, or give"
        f" --dataset {NAME}:PATH"
    )


def of_rows(rows: Sequence[Row]) -> list[Prompt]:
    """A prompt of each row; refuses placeholders with the command that fills them."""
    found = prompts(rows, _prompt)
    _tell()
    return found


def _prompt(row: Row) -> Prompt:
    turns = turns_of(row, f"run {places.command(NAME)}")
    category = str(row.get("category"))
    return Prompt(
        prompt_id=str(row.get("question_id")),
        category=category,
        turns=turns,
        system=system_of(row),
        sub_category=row.maybe("sub_category"),
        entropy=category if category in ENTROPIES else None,
    )
