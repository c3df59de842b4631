"""AIME problems: reading them, the prompt, and what an answer's last word is worth."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cli.errors import UserError
from ..datasets.aime import PROMPT, name_of, problem_of
from ..datasets.builtin import DATA
from ..datasets.rows import Row
from .reading import SAMPLE, Data, Sample, read

TASK = "aime"
MISSING = (
    "give a JSONL file with id, problem and answer in each line, such as an export of"
    " AI-MO/aimo-validation-aime or Maxwell-Jia/AIME_2024 from the Hugging Face hub, or"
    " --data-path sample for the small built-in set"
)
_BOX = "\\boxed{"
_WHOLE = re.compile(r"-?\d+(\.0*)?", re.ASCII)  # some exports hold floats
_INTEGER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?!\w|\.\d)")


def load(data_path: str, id_min: int | None = None, id_max: int | None = None) -> Data:
    """The problems whose id lies within the bounds, both inclusive."""
    path = _file(data_path)
    data = read(path, TASK, _sample, MISSING)
    if id_min is None and id_max is None:
        return data
    low, high = (id_min, id_max)
    kept = [s for s in data.samples if _within(_number(s, path), low, high)]
    if not kept:
        ids = sorted(_number(s, path) for s in data.samples)
        given = " ".join(f"--id-{n} {v}" for n, v in (("min", low), ("max", high)) if v is not None)
        raise UserError(f"{given}: no such problem; {path.name} has ids {ids[0]} to {ids[-1]}")
    return replace(data, samples=kept)


def _file(data_path: str) -> Path:
    if data_path == SAMPLE:
        return DATA / "aime.jsonl"
    path = Path(data_path)
    return path / "aime.jsonl" if path.is_dir() else path


def _sample(line: Row) -> Sample:
    problem = problem_of(line)
    answer = str(line.get("answer", "Answer")).strip()
    if not _WHOLE.fullmatch(answer):
        raise line.bad(f"answer {answer!r} is no whole number, as AIME's are")
    return Sample(name_of(line), PROMPT.format(problem=problem), reference=answer.partition(".")[0])


def _number(sample: Sample, path: Path) -> int:
    try:
        return int(sample.id)
    except ValueError:
        raise UserError(
            f"{path}: id {sample.id} is no whole number; leave out --id-min and --id-max"
        ) from None


def _within(number: int, low: int | None, high: int | None) -> bool:
    return (low is None or number >= low) and (high is None or number <= high)


def final_answer(text: str) -> str | None:
    """What the last ``\\boxed{...}`` holds, else the last integer; None without either."""
    boxes = [box for at in re.finditer(re.escape(_BOX), text) if (box := _box(text, at.end()))]
    if boxes:
        return boxes[-1].strip()
    integers = _INTEGER.findall(text)
    return str(integers[-1]) if integers else None


def _box(text: str, start: int) -> str | None:
    """Up to the brace that closes the one before ``start``; None if nothing does."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[start:at]
    return None


def same(answer: str | None, reference: str) -> bool:
    """Whether both are the same number (``007`` is ``7``), or else the same text."""
    return answer is not None and _plain(answer) == _plain(reference)


def _plain(text: str) -> int | str:
    bare = re.sub(r"\\text\{\s*([^}]*)\}|\\[,;!]|[\s$,]", r"\1", text).rstrip(".")
    return int(bare) if re.fullmatch(r"-?\d+", bare, re.ASCII) else bare


def grade(text: str, reference: str | None) -> dict[str, Any]:
    """The record's fields on the answer."""
    answer = final_answer(text)
    right = None if reference is None else same(answer, reference)
    return {"answer": answer, "reference": reference, "correct": right}
