"""From what an arm left behind to its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records.counters import Counters
from ..records.requests import RequestRecord
from ..records.results import (
    AcceptanceLength,
    ArmResult,
    Bin,
    CategoryResult,
    Goodput,
    Sampling,
    Speedup,
    Spread,
)
from . import metrics
from .break_even import break_even
from .choices import choices
from .lossless import lossless
from .pairing import speedup
from .runs import ArmRun, acceptance_length, lengths_by_source, of_records, totals, undrafted
from .timesplit import time_split, tree_use

CONTEXT_EDGE, GENERATED_EDGE = 128, 32  # tokens of the first bin; each later one is twice as wide
Limits = Mapping[str, float]


def summarise(run: ArmRun, vanilla: ArmRun | None, limits: Limits | None = None) -> ArmResult:
    """All numbers of an arm; the paired ones need the vanilla arm under the same condition."""
    spec, good, seconds = totals(run), run.good, run.seconds
    tokens = sum(record.completion_tokens for record in good)
    length, split = _lengths(run, spec), time_split(run.cycles)
    decode = _speedup(run.good, vanilla, run, "tpot_ms")
    return ArmResult(
        name=run.name,
        label=run.label or run.name,
        concurrency=run.condition.concurrency,
        temperature=run.condition.temperature,
        num_requests=len(run.records),
        num_errors=len(run.records) - len(good),
        prompt_tokens=sum(record.prompt_tokens for record in good),
        completion_tokens=tokens,
        seconds=seconds,
        throughput_tok_s=metrics.ratio(tokens, seconds),
        requests_per_s=metrics.ratio(len(good), seconds),
        steps=spec.steps,
        drafted=spec.drafted,
        accepted=spec.accepted,
        acceptance_length=length,
        acceptance_rate=_rate(run, spec),
        acceptance_rate_path=metrics.path_acceptance_rate(
            spec.steps, _accepted(run, spec), run.depth
        ),
        joint_per_position=metrics.joint_per_position(spec.per_position, spec.steps),
        conditional_per_position=metrics.conditional_per_position(spec.per_position, spec.steps),
        ttft_ms=_spread(good, "ttft_ms"),
        tpot_ms=_spread(good, "tpot_ms"),
        latency_ms=_spread(good, "latency_ms"),
        goodput=_goodput(good, limits, seconds),
        speedup=_speedup(good, vanilla, run, "latency_per_token"),
        speedup_decode=decode,
        lossless=lossless(run, vanilla),
        sampling=Sampling(mode=run.sampling, defaults=run.defaults) if run.sampling else None,
        undrafted=len(undrafted(run)) if run.by_request or run.counters else None,
        categories=_categories(run, vanilla),
        by_context=_bins(run, CONTEXT_EDGE, from_prompt=True),
        by_generated=_bins(run, GENERATED_EDGE, from_prompt=False),
        acceptance_length_per_source=lengths_by_source(run),
        time_split=split,
        tree_use=tree_use(run.cycles),
        choices=choices(run.choices),
        break_even=break_even(run, vanilla, length, split, decode.mean if decode else None),
    )


def _spread(records: Iterable[RequestRecord], of: str) -> Spread:
    return Spread(**metrics.spread(getattr(record, of) for record in records))


def _accepted(run: ArmRun, spec: Counters) -> int | None:
    """Of counters that know tokens and steps alone: what is neither a prefill's nor a bonus token.

    Holds where every decode step is a verify step, as in SGLang. Tokens that were cut at an
    answer's end are in no counter.
    """
    if spec.accepted is not None or not spec.steps or run.by_request:
        return spec.accepted
    return max(spec.completion_tokens - len(run.good) - spec.steps, 0)


def _rate(run: ArmRun, spec: Counters) -> float | None:
    """Accepted over drafted; what is drafted in a step may be known where it is not counted."""
    drafted = run.nodes * spec.steps if spec.drafted is None and run.nodes else spec.drafted
    return metrics.acceptance_rate(drafted, _accepted(run, spec))


def _lengths(run: ArmRun, spec: Counters) -> AcceptanceLength:
    if run.by_request or not spec.steps:
        return _lengths_of(run.counted, spec, run.by_request)
    found = AcceptanceLength(pooled=acceptance_length(spec))
    if spec.accepted is not None:
        # All that is known is the sum: one request that is as long as all together.
        tokens = sum(max(r.completion_tokens - 1, 0) for r in run.good) + 1
        found.effective = metrics.effective_acceptance_length([(tokens, spec.steps, spec.accepted)])
    return found


def _lengths_of(
    records: Sequence[RequestRecord], spec: Counters, by_request: bool
) -> AcceptanceLength:
    each = [(r.completion_tokens, r.steps or 0, r.accepted or 0) for r in records]
    told = [(steps, accepted) for _, steps, accepted in each] if by_request else []
    return AcceptanceLength(
        pooled=acceptance_length(spec),
        macro=metrics.macro_acceptance_length(told),
        effective=metrics.effective_acceptance_length(each),
    )


def _categories(run: ArmRun, vanilla: ArmRun | None) -> dict[str, CategoryResult]:
    return {name: _category(group, run, vanilla) for name, group in run.by_category.items()}


def _category(
    group: Sequence[RequestRecord], run: ArmRun, vanilla: ArmRun | None
) -> CategoryResult:
    spec = of_records(group) if run.by_request else Counters()
    return CategoryResult(
        num_requests=len(group),
        completion_tokens=sum(record.completion_tokens for record in group),
        acceptance_length=_lengths_of(group, spec, True) if spec.steps else AcceptanceLength(),
        acceptance_rate=metrics.acceptance_rate(spec.drafted, spec.accepted),
        joint_per_position=metrics.joint_per_position(spec.per_position, spec.steps),
        conditional_per_position=metrics.conditional_per_position(spec.per_position, spec.steps),
        tpot_ms=_spread(group, "tpot_ms"),
        speedup=_speedup(group, vanilla, run, "latency_per_token"),
    )


def _bins(run: ArmRun, first_edge: int, *, from_prompt: bool) -> list[Bin]:
    """Tokens per decode step by where it began: in the whole context, or in the answer."""
    if run.speculates is False:
        return []

    def steps() -> Iterable[tuple[int, int]]:
        for record in run.good:
            accepted = _accepted_in_order(record)
            start = record.prompt_tokens if from_prompt else 0
            lengths = metrics.step_lengths(accepted)
            yield from ((start + length, a) for length, a in zip(lengths, accepted, strict=True))

    return [
        Bin(low=low, high=high, steps=count, acceptance_length=length)
        for low, high, count, length in metrics.by_length(steps(), first_edge)
    ]


def _accepted_in_order(record: RequestRecord) -> list[int]:
    """What each decode step accepted, 0 where it had no draft; nothing where that is not known.

    The stream tells, unless the server has put steps together: then there are fewer parts than
    steps. Else what the server tells of its verify steps does, if all steps were such.
    """
    told = record.step_accepted or []
    known = record.steps if record.steps is not None else len(told)
    steps = metrics.decode_steps(record.completion_tokens, known, record.accepted or 0)
    parts = record.chunk_tokens or []
    if parts[:1] == [1] and len(parts) - 1 == steps:
        return [part - 1 for part in parts[1:]]
    return told if len(told) == steps else []


def _goodput(
    records: Sequence[RequestRecord], limits: Limits | None, seconds: float
) -> Goodput | None:
    if not limits:
        return None
    count = sum(
        metrics.meets(limits, {"ttft": r.ttft_ms, "tpot": r.tpot_ms, "latency": r.latency_ms})
        for r in records
    )
    return Goodput(
        limits=dict(limits),
        count=count,
        share=metrics.ratio(count, len(records)),
        requests_per_s=metrics.ratio(count, seconds),
    )


def _speedup(
    records: Iterable[RequestRecord], vanilla: ArmRun | None, run: ArmRun, of: str
) -> Speedup | None:
    if vanilla is None or vanilla is run:
        return None
    return speedup(vanilla.good, records, of)
