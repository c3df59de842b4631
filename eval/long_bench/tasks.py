"""LongBench's tasks: their files; the prompts are those of ``eval.datasets.longbench``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..cli.errors import UserError
from ..datasets.builtin import DATA
from ..datasets.longbench import TEMPLATES
from ..datasets.rows import Row
from .reading import SAMPLE, Data, Sample, read

MISSING = (
    "LongBench is THUDM/LongBench on the Hugging Face hub: unpack its data.zip and give that"
    " folder as --data-path, or --data-path sample for the small built-in set"
)
TASKS = tuple(TEMPLATES)


def load(task: str, data_path: str, count: int | None) -> list[Data]:
    """The first ``count`` samples of a task, or of each for ``all``."""
    names = TASKS if task == "all" else (task,)
    return [_first(_load(name, data_path, task == "all"), count) for name in names]


def _first(data: Data, count: int | None) -> Data:
    there = len(data.samples)
    if count is not None and count > there:
        raise UserError(
            f"--test-length {count}: {data.task} has {there} samples; give 1 to {there}"
        )
    return replace(data, samples=data.samples[:count])


def _load(task: str, data_path: str, several: bool) -> Data:
    template = TEMPLATES[task]

    def sample(line: Row) -> Sample:
        own = str(line.maybe("dataset") or task)
        if own.removesuffix("_e") != task:  # LongBench-E's files have that behind the name
            raise line.bad(f"dataset {own}, the task is {task}; give --task {own}, or its own file")
        prompt = template.fill(line.text("context"), line.text("input"))
        if not isinstance(line.get("answers"), list):
            raise line.bad("answers is not a list of texts")
        return Sample(str(line.get("_id")), prompt, template.chat)

    return read(_file(task, data_path, several), task, sample, MISSING)


def _file(task: str, data_path: str, several: bool) -> Path:
    """``sample``, a folder of ``<task>.jsonl``, or for a single task the file itself."""
    if data_path == SAMPLE:
        return DATA / "longbench" / f"{task}.jsonl"
    path = Path(data_path)
    if path.suffix != ".jsonl" or path.is_dir():
        return path / f"{task}.jsonl"
    if several:
        raise UserError(f"--data-path {path}: --task all needs a folder of <task>.jsonl files")
    return path
