"""What a step costs against what it yields: the break-even view."""

from __future__ import annotations

from ..records.results import AcceptanceLength, BreakEven, TimeSplit
from . import metrics
from .runs import ArmRun


def break_even(
    run: ArmRun,
    vanilla: ArmRun | None,
    length: AcceptanceLength,
    split: TimeSplit | None,
    measured: float | None,
) -> BreakEven | None:
    """The arm's step by its trace, where one cycle is one step, else as its clients see it.

    A trace has cycles with drafts only, so the pooled AL goes with it; with clients' times, which
    hold all decode steps, the effective one.
    """
    base = step_ms(vanilla) if vanilla is not None and vanilla is not run else None
    step = split.cycle_ms if split else step_ms(run)
    yielded = length.pooled if split else length.effective
    if base is None or step is None or yielded is None:
        return None
    return BreakEven(
        step_ms=step,
        vanilla_step_ms=base,
        step_time_ratio=step / base,
        acceptance_length=yielded,
        predicted=yielded * base / step,
        measured=measured,
        source="trace" if split else "client",
    )


def step_ms(run: ArmRun) -> float | None:
    """Pooled time of a decode step as clients see it; None where steps are not told."""
    if not run.by_request and run.speculates is not False:
        return None
    timed = [r for r in run.counted if r.latency_ms is not None and r.ttft_ms is not None]
    return metrics.step_ms(
        [(r.latency_ms or 0.0) - (r.ttft_ms or 0.0) for r in timed],
        [metrics.decode_steps(r.completion_tokens, r.steps or 0, r.accepted or 0) for r in timed],
    )
