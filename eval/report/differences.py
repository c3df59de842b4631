"""What differs between two saved runs, as tables of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..numbers.pairing import per_turn, speedup
from ..records.requests import RequestRecord, same_answer
from ..records.results import ArmResult, Results, Speedup
from . import select, tables
from .tables import NONE, Table, number

TIME = "latency_per_token"  # which a run's own speedup is of, too
_NUMBERS = {
    "throughput tok/s": lambda arm: arm.throughput_tok_s,
    "AL pooled": lambda arm: arm.acceptance_length.pooled,
    "AL effective": lambda arm: arm.acceptance_length.effective,
    "AR (of drafted)": lambda arm: arm.acceptance_rate,
    "TTFT ms p50": lambda arm: arm.ttft_ms.p50,
    "TTFT ms p95": lambda arm: arm.ttft_ms.p95,
    "TPOT ms p50": lambda arm: arm.tpot_ms.p50,
    "TPOT ms p95": lambda arm: arm.tpot_ms.p95,
    "speedup over vanilla": lambda arm: arm.speedup.mean if arm.speedup else None,
}
# What every run has anew; a run differs from another by what is left.
_OF_EACH_RUN = {"started", "command", "options.output_dir", "options.resume", "options.overwrite"}
_PORT = re.compile(r"--port \d+")


@dataclass(frozen=True)
class Run:
    """A saved run."""

    name: str
    results: Results
    records: Sequence[RequestRecord]


@dataclass(frozen=True)
class Pair:
    """The same arm in both runs, and what its prompts in both tell; ``speedup`` is of b over a."""

    label: str
    prompts: int
    speedup: Speedup
    identical: int | None
    compared: int
    other_input: int


def common(a: Results, b: Results) -> list[tuple[ArmResult, ArmResult]]:
    """Arms of the same label."""
    there = {arm.label: arm for arm in b.arms}
    return [(arm, there[arm.label]) for arm in a.arms if arm.label in there]


def numbers(a: ArmResult, b: ArmResult) -> Table:
    """A number a line: in both runs, the difference and the ratio."""
    lines = {}
    for name, of in _NUMBERS.items():
        one, two, digits = of(a), of(b), 3 if name.startswith("AR") else 2
        if one is not None or two is not None:
            lines[name] = [number(one, digits), number(two, digits), *_change(one, two, digits)]
    return Table(a.label, ["A", "B", "B - A", "B / A"], lines)


def _change(one: float | None, two: float | None, digits: int) -> list[str]:
    if one is None or two is None:
        return [NONE, NONE]
    return [f"{two - one:+.{digits}f}", number(two / one) if one else NONE]


def pairs(a: Run, b: Run) -> list[Pair]:
    """The arms that both have, prompt by prompt."""
    one, two = (select.by_label(run.results.arms, run.records) for run in (a, b))
    return [_pair(arm, one[arm.label], two[arm.label]) for arm, _ in common(a.results, b.results)]


def _pair(arm: ArmResult, a: Sequence[RequestRecord], b: Sequence[RequestRecord]) -> Pair:
    turns = per_turn(a, TIME).keys() & per_turn(b, TIME).keys()
    texts = list(_texts(a, b))
    told = [same for x, y in texts if (same := same_answer(x, y)) is not None]
    return Pair(
        label=arm.label,
        prompts=len(turns),
        speedup=speedup(a, b, TIME),
        identical=None if arm.temperature else sum(told),  # drawn answers may differ
        compared=len(told),
        other_input=sum(x.prompt_tokens != y.prompt_tokens for x, y in texts),
    )


def _texts(
    a: Sequence[RequestRecord], b: Sequence[RequestRecord]
) -> Iterator[tuple[RequestRecord, RequestRecord]]:
    """Answers to the same turn in the same round that ended well in both."""
    there = {(record.key, record.round): record for record in b if not record.error}
    for record in a:
        other = there.get((record.key, record.round))
        if other is not None and not record.error:
            yield record, other


def paired(found: Sequence[Pair]) -> Table:
    """A line per arm."""
    columns = ["prompts in both", "speedup of B over A [95%]", "identical answers"]
    lines = {p.label: [str(p.prompts), tables.speedup(p.speedup), _same(p)] for p in found}
    return Table("Prompt by prompt", columns, lines)


def _same(pair: Pair) -> str:
    if pair.identical is None or not pair.compared:
        return NONE
    return f"{pair.identical}/{pair.compared}"


def provenance(a: Results, b: Results) -> Table | None:
    """What the runs were made with, where it differs; None where nothing does."""
    one, two = flat(a.provenance), flat(b.provenance)
    names = [name for name in {**one, **two} if name not in _OF_EACH_RUN]
    lines = {
        name: [one.get(name, NONE), two.get(name, NONE)]
        for name in names
        if _PORT.sub("", one.get(name, NONE)) != _PORT.sub("", two.get(name, NONE))
    }
    return Table("What differs", ["A", "B"], lines) if lines else None


def flat(source: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings with dots between the names; values as text."""
    found: dict[str, str] = {}
    for name, value in source.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return found
