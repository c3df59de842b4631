"""Expected against observed acceptance, by decile of the predicted probability."""

from __future__ import annotations

from dataclasses import dataclass

from .tally import BINS, Bins


@dataclass(frozen=True)
class Decile:
    """Predictions from ``low`` up to ``high``: mean of them, share that came true, how many."""

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def deciles(bins: Bins) -> list[Decile]:
    """Those with any prediction."""
    return [
        Decile(i / BINS, (i + 1) / BINS, total / count, hits / count, int(count))
        for i, (count, total, hits) in enumerate(bins)
        if count
    ]


def expected_error(bins: Bins) -> float:
    """Expected calibration error: mean over predictions of ``|predicted - observed|`` by bin."""
    count = sum(row[0] for row in bins)
    return sum(abs(total - hits) for _, total, hits in bins) / count if count else 0.0


def bias(bins: Bins) -> float | None:
    """Predicted over observed acceptances: above 1 the draft is too sure; None without any."""
    hits = sum(row[2] for row in bins)
    return sum(row[1] for row in bins) / hits if hits else None
