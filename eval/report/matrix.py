"""The category matrix: categories x arms, with acceptance length, acceptance rate and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records.results import ArmResult, CategoryResult, Results
from .tables import NONE, Table, number

if TYPE_CHECKING:
    import pandas as pd

TOTAL = "all categories"
METRICS = ("AL", "AR", "n")
Cell = tuple[float | None, float | None, int]


def matrix(results: Results, length: str = "pooled") -> pd.DataFrame:
    """A row per category, then one for all; columns are pairs of an arm and AL, AR or n.

    ``length`` is which acceptance length: pooled, macro or effective. Arms of which no category
    is known are left out; what does not exist is NaN.
    """
    import pandas as pd  # here, since it is slow to import

    columns: dict[tuple[str, str], dict[str, float | int | None]] = {}
    for arm in _told(results, length):
        parts = {name: _cell(part, length) for name, part in arm.categories.items()}
        total = {TOTAL: _cell(arm, length)}
        for place, metric in enumerate(METRICS):
            cells = {name: cell[place] for name, cell in (parts | total).items()}
            columns[arm.label, metric] = cells
    names = sorted({name for arm in results.arms for name in arm.categories})
    index = [*names, TOTAL] if len(names) > 1 else names
    return pd.DataFrame(columns, index=index).rename_axis("category")


def _told(results: Results, length: str) -> list[ArmResult]:
    def known(part: CategoryResult) -> bool:
        return _cell(part, length)[0] is not None

    return [arm for arm in results.arms if any(map(known, arm.categories.values()))]


def _cell(part: CategoryResult | ArmResult, length: str) -> Cell:
    failed = part.num_errors if isinstance(part, ArmResult) else 0  # categories count none
    length_there = getattr(part.acceptance_length, length)
    return length_there, part.acceptance_rate, part.num_requests - failed


def table(results: Results, length: str = "pooled") -> Table | None:
    """The matrix as text, ``AL / AR / n`` in a cell; None where no category is known."""
    arms = _told(results, length)
    if not arms:
        return None
    lines: dict[str, list[str]] = {}
    for name, parts in grouped(results, length).items():
        lines[name] = [" / ".join(cell) if any(cell) else NONE for cell in parts]
    title = f"Acceptance by category: AL {length} / AR / requests"
    return Table(title, [arm.label for arm in arms], lines)


def grouped(results: Results, length: str = "pooled") -> dict[str, list[tuple[str, str, str]]]:
    """Per category the three texts of each arm; empty ones where an arm lacks the category."""
    frame = matrix(results, length)
    told = labels(results, length)
    return {
        str(name): [_texts(*(row[label, metric] for metric in METRICS)) for label in told]
        for name, row in frame.iterrows()
    }


def labels(results: Results, length: str = "pooled") -> list[str]:
    """The columns of ``grouped``."""
    return [arm.label for arm in _told(results, length)]


def _texts(length: float, rate: float, count: float) -> tuple[str, str, str]:
    if _missing(count):
        return ("", "", "")
    known = (None if _missing(value) else value for value in (length, rate))
    return (number(next(known)), number(next(known), 3), str(int(count)))


def _missing(value: float | None) -> bool:
    return value is None or value != value  # NaN differs from itself
