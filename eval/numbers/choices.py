"""What was drafted at an arm's load, out of the trace that longspec arms write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..records.results import Choices
from .timesplit import read_lines

EFFORTS = ("whole", "cheap", "none")


def read_choices(path: Path, spans: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """Steps of a server that follows its load, with trees or without, within one of the spans."""
    lines = read_lines(path, spans, ("cycle", "plain"))
    return [line for line in lines if line.get("effort") in EFFORTS]


def choices(steps: Sequence[dict[str, Any]]) -> Choices | None:
    """Shares of steps by effort; nodes per request and the least probability where it drafted."""
    if not steps:
        return None
    counts = Counter(str(step["effort"]) for step in steps)
    drafted = [step for step in steps if step["effort"] != "none"]
    nodes, requests = (
        sum(float(step.get(name) or 0) for step in drafted) for name in ("nodes", "requests")
    )
    leasts = [float(step.get("least") or 0) for step in drafted]
    return Choices(
        steps=len(steps),
        share={effort: counts[effort] / len(steps) for effort in EFFORTS},
        nodes=nodes / requests if requests else None,
        least=float(np.median(leasts)) if leasts else None,
    )
