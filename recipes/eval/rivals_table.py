"""The tables of :mod:`.rivals`, of the runs that it leaves: a row an arm, a column a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.numbers import metrics
from eval.numbers.pairing import ratios
from eval.records.results import Speedup
from eval.report.differences import Run
from eval.report.tables import NONE, Table, number
from eval.report.tables import speedup as told

VANILLA, POOLED = "vanilla", "all"
OURS = ("longspec", "own_text")
"""As it is served by default, where requests name a salt, and where they name none."""
TIMES = {"latency_per_token": "Time per token", "tpot_ms": "Time per token, decoding alone"}
Counts = tuple[int, int, int]
"""Completion tokens, steps with drafts, and accepted tokens of an answer."""


@dataclass(frozen=True)
class Found:
    """What the runs say of an arm on a set.

    Attributes:
        speedups: of each prompt over vanilla's, whose server was up at the same time.
        counts: of each answer, where the server tells of speculation.
        identical, compared: answers that are vanilla's, of all with the same input.
    """

    speedups: Mapping[str, float]
    counts: Sequence[Counts]
    identical: int
    compared: int

    def speedup(self) -> Speedup:
        return spread(self.speedups.values())

    def over(self, other: Found) -> Speedup:
        """How much faster than another arm, prompt by prompt, each over its own vanilla."""
        common = sorted(self.speedups.keys() & other.speedups.keys())
        return spread(self.speedups[name] / other.speedups[name] for name in common)


Cells = Mapping[str, Mapping[str, Found]]
"""By set, then arm."""


def spread(values: Iterable[float]) -> Speedup:
    """Geometric mean with its interval."""
    found = list(values)
    return Speedup(**metrics.paired_speedup(found, [1.0] * len(found)))


def found(runs: Sequence[Run], of: str) -> dict[str, Found]:
    """The arms of the runs of one set; each run has its own vanilla."""
    arms: dict[str, Found] = {}
    for run in runs:
        good = [record for record in run.records if not record.error]
        vanilla = [record for record in good if record.arm == VANILLA]
        for arm in run.results.arms:
            if arm.name == VANILLA:
                continue
            mine = [record for record in good if record.arm == arm.name]
            each = [(r.completion_tokens, r.steps or 0, r.accepted or 0) for r in mine]
            same = arm.lossless
            arms[arm.name] = Found(
                ratios(vanilla, mine, of),
                each if any(r.steps for r in mine) else [],
                same.identical if same else 0,
                same.compared if same else 0,
            )
    return arms


def pooled(cells: Cells) -> dict[str, Found]:
    """All sets together; a prompt counts the same whatever its set."""
    arms: dict[str, list[tuple[str, Found]]] = {}
    for name, row in cells.items():
        for arm, cell in row.items():
            arms.setdefault(arm, []).append((name, cell))
    return {arm: _joined(parts) for arm, parts in arms.items()}


def _joined(parts: Sequence[tuple[str, Found]]) -> Found:
    speedups = {f"{name}/{prompt}": s for name, c in parts for prompt, s in c.speedups.items()}
    return Found(
        speedups,
        [counts for _, cell in parts for counts in cell.counts],
        sum(cell.identical for _, cell in parts),
        sum(cell.compared for _, cell in parts),
    )


def tables(cells: Cells, arms: Sequence[str], what: str) -> list[Table]:
    """Each arm over vanilla and, prompt by prompt, each of ours over each arm, where they are."""
    whole = {**cells, POOLED: pooled(cells)}
    over = {arm: [_cell(row.get(arm)) for row in whole.values()] for arm in arms}
    for arm in arms:
        cell = whole[POOLED].get(arm)
        over[arm].append(f"{cell.identical}/{cell.compared}" if cell else NONE)
    ahead = {
        f"{mine} over {arm}": [
            told(row[mine].over(row[arm])) if {mine, arm} <= row.keys() else NONE
            for row in whole.values()
        ]
        for mine in OURS
        for arm in arms
        if mine in whole[POOLED] and arm not in OURS[: 1 + OURS.index(mine)]
    }
    columns = list(whole)
    made = [Table(f"{what}: speedup over vanilla", [*columns, "answers as vanilla's"], over)]
    if ahead:
        made.append(Table(f"{what}: ours over each arm", columns, ahead))
    return made


def _cell(cell: Found | None) -> str:
    if cell is None or not cell.speedups:
        return NONE
    length = metrics.effective_acceptance_length(cell.counts)
    return told(cell.speedup()) + (f", AL {number(length)}" if length is not None else "")
