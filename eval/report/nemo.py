"""NeMo-Skills' tables, for those who compare with them: an arm is a table, named as a benchmark.

As there, ``pass@1`` is the arm as a whole, and the acceptance rate is in percent. NeMo-Skills
prints two things under that name: with vLLM accepted / drafted, with SGLang the gauge of that
server, which was AL / (draft length + 1). The column has the first; where the second differs, it
stands beside it. A category has no ``gen_seconds``: categories are measured together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..records.results import ArmResult, Results
from .markdown import plain
from .tables import NONE, number

COLUMNS = (
    "evaluation_mode",
    "num_entries",
    "avg_tokens",
    "gen_seconds",
    "spec_acceptance_length",
    "spec_acceptance_rate",
)
GAUGE = "AL / (draft length + 1)"
Row = tuple[str, int, float | None, float | None, float | None, float | None, float | None]
_DIGITS = (0, 0, 0, 0, 2, 2, 2)  # as NeMo-Skills prints them


def tables(results: Results) -> dict[str, list[Row]]:
    """By title, the data set and the arm under its condition: ``pass@1``, then the categories."""
    options = results.provenance.get("options")
    dataset = options.get("dataset") if isinstance(options, dict) else None
    name = Path(str(dataset)).name if dataset else "speed_bench"
    return {f"{name}-{arm.label}": list(_rows(arm)) for arm in results.arms}


def columns(results: Results) -> list[str]:
    """NeMo-Skills' own, and the gauge's rate where it is another number."""
    shown = any(_differs(row) for rows in tables(results).values() for row in rows)
    return [*COLUMNS, *[GAUGE] * shown]


def _rows(arm: ArmResult) -> Iterator[Row]:
    count = arm.num_requests - arm.num_errors
    length, depth = arm.acceptance_length.pooled, _depth(arm)
    mean = _mean(arm.completion_tokens, count)
    rates = _percent(arm.acceptance_rate), _gauge(length, depth)
    yield ("pass@1", count, mean, arm.seconds, length, *rates)
    for name, part in arm.categories.items():
        mean = _mean(part.completion_tokens, part.num_requests)
        length = part.acceptance_length.pooled
        rates = _percent(part.acceptance_rate), _gauge(length, depth)
        yield (f"pass@1[{name}]", part.num_requests, mean, None, length, *rates)


def _depth(arm: ArmResult) -> float | None:
    """The draft's length, out of the rate along it: ``(AL - 1) / rate``."""
    length, rate = arm.acceptance_length.pooled, arm.acceptance_rate_path
    return (length - 1) / rate if length is not None and rate else None


def _gauge(length: float | None, depth: float | None) -> float | None:
    return None if length is None or depth is None else 100 * length / (depth + 1)


def _differs(row: Row) -> bool:
    return row[-1] is not None and number(row[-1]) != number(row[-2])


def _mean(tokens: int, count: int) -> float | None:
    return tokens / count if count else None


def _percent(rate: float | None) -> float | None:
    return None if rate is None else 100 * rate


def cells(row: Row) -> list[str]:
    """A row as text."""
    told = [
        value if isinstance(value, str) else number(value, digits)
        for value, digits in zip(row, _DIGITS, strict=True)
    ]
    return [text or NONE for text in told]


def text(results: Results) -> str:
    """The tables as NeMo-Skills prints them, each below its title."""
    names = columns(results)
    return "\n\n".join(
        _table(title, [names, *(cells(row)[: len(names)] for row in rows)])
        for title, rows in tables(results).items()
    )


def _table(title: str, lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(
        [f" {title} ".center(len(padded[0]), "-"), *(line.rstrip() for line in padded)]
    )


def markdown(results: Results) -> str:
    """nemo.md."""
    names, parts = columns(results), []
    for title, rows in tables(results).items():
        lines = [names, ["---"] * len(names), *(cells(row)[: len(names)] for row in rows)]
        table = "".join(f"| {' | '.join(map(plain, line))} |\n" for line in lines)
        parts.append(f"## {plain(title)}\n\n{table}")
    return "\n".join(parts)


def write(results: Results, folder: Path) -> None:
    """Write nemo.md and nemo.csv; the latter has the title in a column of its own."""
    import pandas as pd  # here, since it is slow to import

    (folder / "nemo.md").write_text(markdown(results), "utf-8")
    found = [(title, *row) for title, rows in tables(results).items() for row in rows]
    frame = pd.DataFrame(found, columns=["benchmark", *COLUMNS, GAUGE])
    frame[["benchmark", *columns(results)]].to_csv(folder / "nemo.csv", index=False)
