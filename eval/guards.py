"""Named warnings: what makes a run's numbers doubtful."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import BaseModel

from .metrics import gap
from .runs import ArmRun, lengths_by_source, of_records, totals

_LOOP = re.compile(r"(.{1,150}?)\1{3,}.{0,150}$", re.DOTALL)
SOURCES_DIFFER = 0.05  # of an acceptance length
LOOP_CHARACTERS = 120  # shorter repetitions are found in sound answers, such as tables


class Warned(BaseModel):
    """A warning; ``name`` is stable, ``message`` is for people."""

    name: str
    arm: str
    message: str


def loops(text: str) -> bool:
    """Whether the text ends in four or more copies of the same piece."""
    found = _LOOP.search(text[-1200:])
    return bool(found and len(found.group(1)) * 4 <= len(found.group()) >= LOOP_CHARACTERS)


def inspect(run: ArmRun) -> list[Warned]:
    """All warnings of an arm."""
    checks = (_errors, _lengths, _loops, _positions, _counters, _files, _sources)
    found = [warned for check in checks for warned in check(run)]
    return [Warned(name=name, arm=run.name, message=message) for name, message in found]


Found = Iterable[tuple[str, str]]


def _errors(run: ArmRun) -> Found:
    failed = [record for record in run.records if record.error]
    if failed:
        yield (
            "request_errors",
            f"{len(failed)} of {len(run.records)} requests failed and count nowhere; the first,"
            f" {failed[0].prompt_id}: {failed[0].error}",
        )


def _lengths(run: ArmRun) -> Found:
    cut = sum(record.finish_reason == "length" for record in run.good)
    if cut:
        yield (
            "truncated",
            f"{cut} of {len(run.good)} answers were cut by --output-len or the context",
        )


def _loops(run: ArmRun) -> Found:
    looping = [record.prompt_id for record in run.good if loops(record.text)]
    if looping:
        yield (
            "repetition_loop",
            f"{len(looping)} of {len(run.good)} answers end in a loop, which drafts well and"
            f" raises acceptance: {', '.join(dict.fromkeys(looping))}",
        )


def _positions(run: ArmRun) -> Found:
    spec = totals(run)
    if spec.accepted is not None and sum(spec.per_position) != spec.accepted:
        yield (
            "positions_do_not_add_up",
            f"the sum over positions is {sum(spec.per_position)}, accepted is {spec.accepted}",
        )


def _counters(run: ArmRun) -> Found:
    """Only where every request ended well: a failed one has tokens that no record holds."""
    if run.counters is None:
        if run.records:
            yield "no_counters", "the server's /metrics could not be read; no cross-check was made"
        return
    if run.counters.went_back:
        yield "counters_went_back", "the server's counters fell: it was restarted in the window"
        return
    if len(run.good) < len(run.records):
        return
    mine, server = of_records(run.records), run.counters
    names = ["completion_tokens"] + (["steps", "drafted", "accepted"] if run.told else [])
    counted = [name for name in names if getattr(server, name) is not None]
    off = [n for n in counted if getattr(mine, n) != getattr(server, n)]
    if off:
        told = "; ".join(f"{n} {getattr(mine, n)} and {getattr(server, n)}" for n in off)
        yield (
            "counters_differ",
            f"sums over requests and the server's counters differ: {told}; did another client"
            " use the server?",
        )


def _files(run: ArmRun) -> Found:
    if run.not_filed:
        yield (
            "file_incomplete",
            f"{len(run.not_filed)} of {len(run.good)} requests are not in the server's files of"
            f" request metrics; the first: {run.not_filed[0].prompt_id}",
        )


def _sources(run: ArmRun) -> Found:
    lengths = lengths_by_source(run)
    apart = gap(list(lengths.values()))
    if apart is None or apart <= SOURCES_DIFFER:
        return
    told = ", ".join(f"{name} {length:.3f}" for name, length in lengths.items())
    bare = run.counters is not None and run.counters.accepted is None
    why = "; the server's counts the first token of an answer and not what was cut at its end"
    yield (
        "sources_differ",
        f"acceptance lengths differ by {apart:.1%}, more than {SOURCES_DIFFER:.0%}: {told}"
        + why * (bare and "server" in lengths),
    )
