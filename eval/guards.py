"""Named warnings: what makes a run's numbers doubtful."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import BaseModel

from .summary import ArmRun, of_records, totals

_LOOP = re.compile(r"(.{1,150}?)\1{3,}.{0,150}$", re.DOTALL)
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
    found = [*_errors(run), *_lengths(run), *_loops(run), *_positions(run), *_counters(run)]
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
    if sum(spec.per_position) != spec.accepted:
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
    off = [n for n in names if getattr(mine, n) != getattr(server, n)]
    if off:
        told = "; ".join(f"{n} {getattr(mine, n)} and {getattr(server, n)}" for n in off)
        yield (
            "counters_differ",
            f"sums over requests and the server's counters differ: {told}; did another client"
            " use the server?",
        )
