"""Plots of time: distributions over requests, and throughput and TPOT over concurrency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...records.requests import RequestRecord
from ...records.results import ArmResult
from ..palette import Look
from .canvas import Plot, drawn, legend

Looks = dict[str, Look]
Records = Mapping[str, Sequence[RequestRecord]]  # by the label of their arm
Value = Callable[[ArmResult], float | None]
WIDE = 12.0  # a 95% range of more than this ratio is drawn on a logarithmic axis
_TIMES = {
    "Time to first token": ("ttft_ms", "TTFT, ms"),
    "Time per output token": ("tpot_ms", "TPOT, ms"),
    "Latency of a request": ("latency_ms", "latency of a request, ms"),
}


def plots(
    arms: Sequence[ArmResult], every: Sequence[ArmResult], records: Records, looks: Looks
) -> Iterator[Plot | None]:
    """All that there is data for; ``arms`` are those shown, ``every`` has all conditions."""
    for title, (field, what) in _TIMES.items():
        yield distribution(title, field, what, arms, records, looks)
    yield over_concurrency(
        "Throughput over concurrency", "tokens/s", every, looks, lambda arm: arm.throughput_tok_s
    )
    yield over_concurrency(
        "TPOT over concurrency", "TPOT p50, ms", every, looks, lambda arm: arm.tpot_ms.p50
    )


def distribution(
    title: str, field: str, what: str, arms: Sequence[ArmResult], records: Records, looks: Looks
) -> Plot | None:
    """The share of requests that took at most so long."""
    values = {arm.label: _sorted(records.get(arm.label, ()), field) for arm in arms}
    told = [arm for arm in arms if len(values[arm.label]) > 1]
    if not told:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for arm in told:
            look, times = looks[arm.label], values[arm.label]
            shares = [(index + 1) / len(times) for index in range(len(times))]
            style = {"color": look.colour, "linestyle": look.line, "where": "post"}
            axes.step([times[0], *times], [0, *shares], **style)
        _time_axis(axes, sorted(time for arm in told for time in values[arm.label]))
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(what)
        axes.set_ylabel("share of requests")
        legend(figure, {arm.label: looks[arm.label] for arm in told}, "line")

    return drawn(title, "Share of requests that took at most so long; left is faster.", 2.9, paint)


def _sorted(records: Sequence[RequestRecord], field: str) -> list[float]:
    values = [getattr(record, field) for record in records if not record.error]
    return sorted(value for value in values if value is not None)


def _time_axis(axes: Any, times: Sequence[float]) -> None:
    """From 0, or logarithmic where some requests took far longer than others."""
    low, high = times[len(times) // 40], times[-1 - len(times) // 40]
    if low > 0 and high / low > WIDE:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)


def over_concurrency(
    title: str, what: str, every: Sequence[ArmResult], looks: Looks, value: Value
) -> Plot | None:
    """A line per arm and temperature over the requests in flight."""
    points = sorted({arm.concurrency for arm in every})
    temperatures = sorted({arm.temperature for arm in every})
    series: dict[tuple[str, float], list[ArmResult]] = {}
    for arm in sorted(every, key=lambda arm: arm.concurrency):
        if value(arm) is not None:
            series.setdefault((arm.name, arm.temperature), []).append(arm)
    if len(points) < 2 or not series:
        return None

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for (name, temperature), line in series.items():
            look = looks[line[0].label]
            axes.plot(
                [arm.concurrency for arm in line],
                [value(arm) for arm in line],
                marker=look.marker,
                color=look.colour,
                linestyle=("-", "--", ":")[temperatures.index(temperature) % 3],
                label=name + (f" T={temperature:g}" if len(temperatures) > 1 else ""),
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(points, [str(point) for point in points])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("requests in flight")
        axes.set_ylabel(what)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.8)

    return drawn(title, "The same prompts at every concurrency.", 2.9, paint)
