"""From tallies of answers to the numbers of one way to draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .calibration import Decile, bias, deciles, expected_error
from .sequences import Answer
from .tally import Bins, Tally
from .ways import Way

RESAMPLES = 10_000


@dataclass(frozen=True)
class Lengths:
    """Acceptance lengths of some answers.

    Attributes:
        pooled: ``1 + accepted / steps`` over all verify steps.
        effective: the same over all steps, those included whose draft was pruned to nothing.
        mean: over answers, each answer's own; ``low`` to ``high``: its 95% bootstrap interval.
    """

    answers: int
    steps: int
    pooled: float
    effective: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Of node or path probabilities: deciles, expected calibration error, predicted / observed."""

    deciles: list[Decile]
    error: float
    bias: float | None

    @classmethod
    def of(cls, bins: Bins) -> Calibration:
        return cls(deciles(bins), expected_error(bins), bias(bins))


@dataclass(frozen=True)
class Result:
    """All that is told of one way to draft.

    Attributes:
        nodes, depth: greatest tree.
        by_answer: AL of each answer, by its id, so that drafts can be compared in pairs.
        by_depth: of depth 1, 2, ...: share of the verify steps that accepted a node there.
        nodes_per_step: drafted after pruning, over all steps.
        draft_ms: wall time of drafting one tree for one request, see :func:`.walk.timed`.
    """

    name: str
    draft: str
    proposer: str
    options: dict[str, Any]
    nodes: int
    depth: int
    all: Lengths
    by_category: dict[str, Lengths]
    by_answer: dict[str, float]
    by_depth: list[float]
    nodes_per_step: float
    draft_ms: float
    node_calibration: Calibration
    path_calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parts(result: Result) -> dict[str, Calibration]:
    """Both calibrations, with what to call them."""
    return {
        "A node, its parent being accepted": result.node_calibration,
        "A whole path from the root": result.path_calibration,
    }


def summarise(
    way: Way, answers: Sequence[Answer], tallies: Sequence[Tally], timing: Mapping[str, Any]
) -> Result:
    """Of a tally per answer; ``timing`` as :func:`.walk.timed` gives it."""
    total = Tally.sum(list(tallies))
    groups: dict[str, list[Tally]] = {name: [] for name in sorted({a.category for a in answers})}
    for answer, tally in zip(answers, tallies, strict=True):
        groups[answer.category].append(tally)
    steps = max(total.steps, 1)
    return Result(
        way.name,
        str(way.draft),
        way.proposer,
        dict(way.options),
        timing["nodes"],
        timing["depth"],
        lengths(tallies),
        {name: lengths(group) for name, group in groups.items()},
        {a.id: t.acceptance_length for a, t in zip(answers, tallies, strict=True)},
        [count / steps for count in total.reached],
        total.nodes / max(total.steps + total.undrafted, 1),
        timing["ms"],
        Calibration.of(total.node_bins),
        Calibration.of(total.path_bins),
    )


def lengths(tallies: Sequence[Tally]) -> Lengths:
    own = [tally.acceptance_length for tally in tallies if tally.steps] or [1.0]
    total = Tally.sum(list(tallies))
    low, high = interval(own)
    mean = sum(own) / len(own)
    pooled = (total.acceptance_length, total.effective_length)
    return Lengths(len(tallies), total.steps, *pooled, mean, low, high)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95% bootstrap interval (percentiles) of the mean; the same in every run."""
    data = torch.tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(len(data), (RESAMPLES, len(data)), generator=generator)
    low, high = data[index].mean(1).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high
