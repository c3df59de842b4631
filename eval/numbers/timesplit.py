"""Where a cycle's time goes and how trees are used, out of the trace that longspec arms write."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..records.jsontext import parsed
from ..records.results import TimeSplit, TreeUse
from .metrics import merged, ratio

PARTS = ("verify_ms", "draft_ms", "engine_ms")  # their sum is cycle_ms
TIMES = (*PARTS, "forward_ms", "accept_ms", "cycle_ms")
FIELDS = (*TIMES, "time", "rows", "trees", "nodes", "depth", "accepted")
Cycle = dict[str, float]


def read_cycles(path: Path, spans: Sequence[tuple[float, float]]) -> list[Cycle]:
    """Cycles with trees that ended within one of the spans."""
    lines = read_lines(path, spans, ("cycle",))
    return [{name: _number(line.get(name)) for name in FIELDS} for line in lines]


def read_lines(
    path: Path, spans: Sequence[tuple[float, float]], events: Collection[str]
) -> list[dict[str, Any]]:
    """Lines of a trace that tell of such events within one of the spans, in seconds since 1970.

    An unfinished last line is left out.
    """
    if not path.is_file():
        return []
    found, within = [], merged(spans)
    for line in path.read_bytes().split(b"\n"):
        try:
            row = parsed(line.decode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(row, dict) and row.get("event") in events:
            time = _number(row.get("time"))
            if any(start <= time <= end for start, end in within):
                found.append(row)
    return found


def _number(value: object) -> float:
    """0 for what is no number."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def time_split(cycles: Sequence[Cycle]) -> TimeSplit | None:
    """Means per cycle, and the share of each part in the sum of all cycles."""
    if not cycles:
        return None
    mean = {name: float(np.mean([cycle[name] for cycle in cycles])) for name in TIMES}
    whole = sum(mean[name] for name in PARTS)
    share = {name.removesuffix("_ms"): mean[name] / whole for name in PARTS} if whole else {}
    return TimeSplit(cycles=len(cycles), share=share, **mean)


def tree_use(cycles: Sequence[Cycle]) -> TreeUse | None:
    """Means per drafted tree: ``sum over cycles / sum of trees``; used = accepted / nodes."""
    trees = sum(cycle["trees"] for cycle in cycles)
    if not trees:
        return None
    nodes, depth, accepted = (
        sum(cycle[name] for cycle in cycles) for name in ("nodes", "depth", "accepted")
    )
    return TreeUse(
        nodes=nodes / trees,
        depth=depth / trees,
        accepted=accepted / trees,
        used=ratio(accepted, nodes),
    )
