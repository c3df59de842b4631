"""NeMo-Skills' columns, for those who compare with its tables.

As there, the acceptance rate is in percent. A category has no ``gen_seconds``: categories are
measured together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..results import ArmResult, Results
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
Row = tuple[str, int, float | None, float | None, float | None, float | None]
_DIGITS = (0, 0, 0, 0, 2, 2)  # as NeMo-Skills prints them


def rows(results: Results) -> list[Row]:
    """A row per arm under a condition, ``longspec``, and one per category, ``longspec[coding]``."""
    return [row for arm in results.arms for row in _arm(arm)]


def _arm(arm: ArmResult) -> Iterator[Row]:
    count = arm.num_requests - arm.num_errors
    length = arm.acceptance_length.pooled
    mean = _mean(arm.completion_tokens, count)
    yield (arm.label, count, mean, arm.seconds, length, _percent(arm.acceptance_rate))
    for name, part in arm.categories.items():
        mean = _mean(part.completion_tokens, part.num_requests)
        length, rate = part.acceptance_length.pooled, _percent(part.acceptance_rate)
        yield (f"{arm.label}[{name}]", part.num_requests, mean, None, length, rate)


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
    """The table as NeMo-Skills prints it."""
    lines = [list(COLUMNS), *(cells(row) for row in rows(results))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(" | ".join(line).rstrip() for line in padded)


def markdown(results: Results) -> str:
    """nemo.md."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(cells(row) for row in rows(results))]
    return "".join(f"| {' | '.join(map(plain, line))} |\n" for line in lines)


def write(results: Results, folder: Path) -> None:
    """Write nemo.md and nemo.csv."""
    import pandas as pd  # here, since it is slow to import

    (folder / "nemo.md").write_text(markdown(results), "utf-8")
    frame = pd.DataFrame(rows(results), columns=list(COLUMNS))
    frame.to_csv(folder / "nemo.csv", index=False)
