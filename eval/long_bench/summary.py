"""From records to the numbers of a task, and the table of all tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from ..numbers import metrics
from ..report import number
from .records import SampleRecord


class Summary(BaseModel):
    """The numbers of one task and method; warm-up is in none but ``right`` and ``graded``."""

    samples: int
    completion_tokens: int
    seconds: float
    mean_tokens_per_second: float | None
    pooled_tokens_per_second: float | None
    accepted: int
    steps: int
    acceptance_length: float | None
    macro_acceptance_length: float | None
    drafted: int | None
    acceptance_rate: float | None
    acceptance_rate_path: float | None
    prompts_cut: int
    right: int | None
    graded: int | None


def summarise(records: Iterable[SampleRecord], depth: int | None = None) -> Summary:
    """See docs/offline_eval.md for the formulas; ``depth`` of the drafts, where there are any."""
    known = list(records)
    counted = [record for record in known if not record.warmup]
    graded = [record.correct for record in known if record.correct is not None]
    tokens, seconds = _sum(counted, "completion_tokens"), sum(r.seconds for r in counted)
    accepted, steps = _sum(counted, "accepted"), _sum(counted, "steps")
    told = counted and all(record.drafted is not None for record in counted)
    drafted = sum(record.drafted or 0 for record in counted) if told else None
    speeds = [r.tokens_per_second for r in counted if r.tokens_per_second is not None]
    return Summary(
        samples=len(counted),
        completion_tokens=tokens,
        seconds=seconds,
        mean_tokens_per_second=mean(speeds) if speeds else None,
        pooled_tokens_per_second=metrics.ratio(tokens, seconds),
        accepted=accepted,
        steps=steps,
        acceptance_length=metrics.acceptance_length(steps, accepted),
        macro_acceptance_length=metrics.macro_acceptance_length(
            [(r.steps, r.accepted) for r in counted]
        ),
        drafted=drafted,
        acceptance_rate=metrics.acceptance_rate(drafted, accepted),
        acceptance_rate_path=metrics.path_acceptance_rate(steps, accepted, depth),
        prompts_cut=sum(bool(record.prompt_cut) for record in known),
        right=sum(graded) if graded else None,
        graded=len(graded) or None,
    )


def _sum(records: Sequence[SampleRecord], name: str) -> int:
    return sum(getattr(record, name) for record in records)


def running(found: Summary) -> str:
    """The averages so far, in one line: pooled, as in the table at the end."""
    right = f", {found.right} of {found.graded} right" if found.graded else ""
    if not found.samples:
        return f"average: none yet{right}"
    return (
        f"average of {found.samples}: {number(found.pooled_tokens_per_second, 1)} tok/s,"
        f" accept {number(found.acceptance_length)}{right}"
    )


def rows(found: Summary) -> dict[str, str]:
    """The table's lines for one task."""
    shown = {
        "samples, warm-up apart": str(found.samples),
        "completion tokens": str(found.completion_tokens),
        "seconds": number(found.seconds),
        "tok/s, mean of samples": number(found.mean_tokens_per_second, 1),
        "tok/s, pooled": number(found.pooled_tokens_per_second, 1),
        "AL pooled": number(found.acceptance_length),
        "AL macro": number(found.macro_acceptance_length),
    }
    if found.drafted is not None:
        shown["AR (of drafted)"] = number(found.acceptance_rate, 3)
        shown["AR (of path)"] = number(found.acceptance_rate_path, 3)
    if found.prompts_cut:
        shown["prompts cut, warm-up included"] = str(found.prompts_cut)
    if found.graded:
        shown["right, warm-up included"] = f"{found.right} of {found.graded}"
    return shown


def print_table(title: str, tasks: Mapping[str, Summary], console: Console) -> None:
    """The table for people: tasks beside each other."""
    columns = [rows(found) for found in tasks.values()]
    table = Table("", *tasks, title=title)
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "-") for column in columns))
    console.print(table, markup=False)
