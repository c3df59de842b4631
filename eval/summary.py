"""From records and counters to the numbers of an arm."""

from __future__ import annotations

from statistics import mean
from typing import Any

from pydantic import BaseModel

from . import metrics
from .readers import Counters
from .records import RequestRecord
from .runs import ArmRun, lengths_by_source, of_records, totals
from .timesplit import time_split


class Spread(BaseModel):
    """Percentiles."""

    p50: float | None
    p95: float | None


class AcceptanceLength(BaseModel):
    """Tokens per verify step, bonus included; see docs/evaluation.md."""

    pooled: float | None
    macro: float | None
    effective: float | None


class Speedup(BaseModel):
    """Geometric mean over prompts with its 95% bootstrap interval."""

    mean: float | None
    low: float | None
    high: float | None


class Identical(BaseModel):
    """Outputs equal to vanilla's, out of those compared."""

    count: int
    total: int


class ArmResult(BaseModel):
    """One arm of results.json."""

    name: str
    num_requests: int
    num_errors: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    throughput_tok_s: float | None
    steps: int
    drafted: int | None
    accepted: int | None
    acceptance_length: AcceptanceLength
    acceptance_rate: float | None
    acceptance_rate_path: float | None
    joint_per_position: list[float]
    conditional_per_position: list[float]
    ttft_ms: Spread
    tpot_ms: Spread
    speedup: Speedup | None
    speedup_decode: Speedup | None
    identical_to_vanilla: Identical | None
    acceptance_length_per_category: dict[str, float | None]
    acceptance_length_per_source: dict[str, float]
    time_split: dict[str, Any] | None


def summarise(run: ArmRun, vanilla: ArmRun | None) -> ArmResult:
    """All numbers of an arm; the paired ones need the vanilla arm."""
    spec, good = totals(run), run.good
    tokens = sum(record.completion_tokens for record in good)
    return ArmResult(
        name=run.name,
        num_requests=len(run.records),
        num_errors=len(run.records) - len(good),
        prompt_tokens=sum(record.prompt_tokens for record in good),
        completion_tokens=tokens,
        seconds=run.seconds,
        throughput_tok_s=metrics.ratio(tokens, run.seconds),
        steps=spec.steps,
        drafted=spec.drafted,
        accepted=spec.accepted,
        acceptance_length=_lengths(run, spec),
        acceptance_rate=metrics.acceptance_rate(spec.drafted, spec.accepted),
        acceptance_rate_path=metrics.path_acceptance_rate(spec.steps, spec.accepted, run.depth),
        joint_per_position=metrics.joint_per_position(spec.per_position, spec.steps),
        conditional_per_position=metrics.conditional_per_position(spec.per_position, spec.steps),
        ttft_ms=Spread(**metrics.percentiles([record.ttft_ms for record in good])),
        tpot_ms=Spread(**metrics.percentiles([record.tpot_ms for record in good])),
        speedup=_speedup(run, vanilla, "latency_per_token"),
        speedup_decode=_speedup(run, vanilla, "tpot_ms"),
        identical_to_vanilla=_identical(run, vanilla),
        acceptance_length_per_category=_categories(run),
        acceptance_length_per_source=lengths_by_source(run),
        time_split=time_split(run.cycles),
    )


def _lengths(run: ArmRun, spec: Counters) -> AcceptanceLength:
    if run.by_request or not spec.steps:
        each = [(r.completion_tokens, r.steps or 0, r.accepted or 0) for r in run.counted]
    elif spec.accepted is not None:
        # All that is known is the sum: one request that is as long as all together.
        tokens = sum(max(r.completion_tokens - 1, 0) for r in run.good) + 1
        each = [(tokens, spec.steps, spec.accepted)]
    else:
        each = []
    told = [(steps, accepted) for _, steps, accepted in each] if run.by_request else []
    return AcceptanceLength(
        pooled=spec.acceptance_length,
        macro=metrics.macro_acceptance_length(told),
        effective=metrics.effective_acceptance_length(each),
    )


def _categories(run: ArmRun) -> dict[str, float | None]:
    """Pooled AL of each category, where requests tell."""
    if not run.by_request:
        return {}
    groups: dict[str, list[RequestRecord]] = {}
    for record in run.counted:
        groups.setdefault(record.category, []).append(record)
    sums = {name: of_records(group) for name, group in sorted(groups.items())}
    return {name: counted.acceptance_length for name, counted in sums.items()}


def _speedup(run: ArmRun, vanilla: ArmRun | None, of: str) -> Speedup | None:
    if vanilla is None or vanilla is run:
        return None
    base, arm = _per_prompt(vanilla, of), _per_prompt(run, of)
    keys = [key for key in base if key in arm]
    pairs = metrics.paired_speedup([base[k] for k in keys], [arm[k] for k in keys])
    return Speedup(**pairs)


def _per_prompt(run: ArmRun, of: str) -> dict[tuple[str, int], float]:
    """The mean over rounds of a time per token, by prompt and turn."""
    times: dict[tuple[str, int], list[float]] = {}
    for record in run.good:
        value = getattr(record, of)
        if value:
            times.setdefault(record.key, []).append(value)
    return {key: mean(values) for key, values in times.items()}


def _identical(run: ArmRun, vanilla: ArmRun | None) -> Identical | None:
    """Same prompt and round; vanilla itself, as a control, later rounds against the first."""
    if vanilla is None:
        return None
    control = vanilla is run
    base = {(*r.key, r.round): r.text for r in vanilla.good}
    pairs = [
        (base.get((*r.key, 0 if control else r.round)), r.text)
        for r in run.good
        if not control or r.round > 0
    ]
    known = [(a, b) for a, b in pairs if a is not None]
    if not known:
        return None
    count = metrics.identical([a for a, _ in known], [b for _, b in known])
    return Identical(count=count, total=len(known))
