"""The plots of the HTML report, as SVG within the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...records.requests import RequestRecord
from ...records.results import ArmResult
from ..palette import looks
from . import acceptance, latency, speed
from .canvas import Plot

__all__ = ["Plot", "plots"]


def plots(
    shown: Sequence[ArmResult],
    every: Sequence[ArmResult],
    records: Mapping[str, Sequence[RequestRecord]],
) -> dict[str, list[Plot]]:
    """Plots by section; what there is no data for is left out, and so are empty sections.

    ``shown`` are the arms of plots that would be too full with all of ``every``; ``records`` are
    the requests by label.
    """
    styles = looks(every)
    sections: dict[str, Iterator[Plot | None]] = {
        "Speed": speed.plots(shown, every, styles),
        "Acceptance": acceptance.plots(shown, styles),
        "Latency": latency.plots(shown, every, records, styles),
    }
    there = {name: [plot for plot in found if plot] for name, found in sections.items()}
    return {name: found for name, found in there.items() if found}
