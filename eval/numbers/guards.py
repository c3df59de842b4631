"""Named warnings: what makes a run's numbers doubtful."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..records.counters import Counters
from ..records.results import Lossless, Warned
from .metrics import gap
from .runs import ArmRun, lengths_by_source, of_records, totals, undrafted

_LOOP = re.compile(r"(.{1,150}?)\1{3,}.{0,150}$", re.DOTALL)
SOURCES_DIFFER = 0.05  # of an acceptance length
NOISE_NATS = 0.5  # bf16 logits of about 20 are rounded by up to 0.06; sums of it stay below this
LOOP_CHARACTERS = 120  # shorter repetitions are found in sound answers, such as tables


def loops(text: str) -> bool:
    """Whether the text ends in four or more copies of the same piece."""
    found = _LOOP.search(text[-1200:])
    return bool(found and len(found.group(1)) * 4 <= len(found.group()) >= LOOP_CHARACTERS)


def inspect(run: ArmRun, same: Lossless | None = None) -> list[Warned]:
    """All warnings of an arm; ``same`` is how its answers compare with vanilla's."""
    found = [warned for check in CHECKS for warned in check(run)]
    if same is not None:
        found += _beyond_noise(same)
    return [Warned(name=name, arm=run.label or run.name, message=text) for name, text in found]


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
    looping = [record.prompt_id for record in run.good if loops(record.whole)]
    if looping:
        yield (
            "repetition_loop",
            f"{len(looping)} of {len(run.good)} answers end in a loop, which drafts well and"
            f" raises acceptance: {', '.join(dict.fromkeys(looping))}",
        )


def _tokens(run: ArmRun) -> Found:
    empty = [record.prompt_id for record in run.good if not record.completion_tokens]
    if empty:
        yield "empty_answers", f"{len(empty)} answers have no tokens: {', '.join(empty[:5])}"
    mute = [r.prompt_id for r in run.good if r.completion_tokens and not r.whole]
    if mute:
        yield (
            "no_text",
            f"{len(mute)} of {len(run.good)} answers have tokens and no text of any kind, so that"
            f" nothing can be seen of them: {', '.join(mute[:5])}",
        )
    off = [r for r in run.good if r.token_ids and len(r.token_ids) != r.completion_tokens]
    if off:
        yield (
            "usage_differs",
            f"{len(off)} answers came with another number of tokens than their usage says; the"
            f" first, {off[0].prompt_id}: {len(off[0].token_ids or [])} and"
            f" {off[0].completion_tokens}",
        )


def _template(run: ArmRun) -> Found:
    """A first prompt that is as long rendered as bare (but for a begin token) has no template."""
    raw = {name: n for window in run.windows for name, n in window.raw_prompt_tokens.items()}
    bare = [r for r in run.good if not r.turn and r.prompt_tokens <= raw.get(r.prompt_id, -9) + 1]
    if bare:
        yield (
            "no_chat_template",
            f"{bare[0].prompt_id} has {bare[0].prompt_tokens} tokens, no more than its bare text:"
            " the server seems to apply no chat template, without which answers loop",
        )


def _speculation(run: ArmRun) -> Found:
    steps = totals(run).steps
    if run.speculates is False and steps:
        yield "vanilla_speculates", f"its server verified {steps} drafts, so it is no baseline"
    offered = run.counters is not None and run.counters.offered
    told_to = run.speculates or (run.speculates is None and offered)
    if told_to and not steps and run.good:
        yield "nothing_drafted", "its server verified no draft; read its log"


def _undrafted(run: ArmRun) -> Found:
    found = undrafted(run)
    if found:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in run.reasons.items())
        several = sum(record.completion_tokens > 1 for record in run.good)
        yield (
            "undrafted",
            f"{len(found)} of {several} answers of several tokens had no draft at all:"
            f" {', '.join(dict.fromkeys(r.prompt_id for r in found[:5]))};"
            + (f" its log says why: {reasons}" if reasons else " read its server's log"),
        )


def _sampling(run: ArmRun) -> Found:
    if run.sampling == "server" and run.defaults:
        told = ", ".join(f"{name} {value:g}" for name, value in run.defaults.items())
        yield (
            "sampling_defaults",
            f"its server draws with defaults of the model: {told}; --sampling neutral turns them"
            " off",
        )


def _rates(run: ArmRun) -> Found:
    spec = totals(run)
    if spec.accepted is not None and sum(spec.per_position) != spec.accepted:
        yield (
            "positions_do_not_add_up",
            f"the sum over positions is {sum(spec.per_position)}, accepted is {spec.accepted}",
        )
    if None not in (spec.accepted, spec.drafted) and (spec.accepted or 0) > (spec.drafted or 0):
        yield "rate_above_one", f"{spec.accepted} accepted of {spec.drafted} drafted tokens"
    if run.depth and len(spec.per_position) > run.depth:
        yield (
            "deeper_than_drafted",
            f"a step accepted {len(spec.per_position)} tokens, drafts have at most {run.depth}",
        )


def _counters(run: ArmRun) -> Found:
    if run.records and (not run.closed or any(w.counted is None for w in run.closed)):
        yield "no_counters", "the server's /metrics could not be read; no cross-check was made"
    elif any(window.counted and window.counted.went_back for window in run.windows):
        yield "counters_went_back", "the server's counters fell: it was restarted in the window"
    else:
        yield from _cross_check(run)


def _cross_check(run: ArmRun) -> Found:
    """Only of windows where every request ended well: others have tokens that no record holds."""
    whole = {window.window: window.counted for window in run.windows if not window.failed}
    mine = of_records([record for record in run.records if record.window in whole])
    server = sum((counted for counted in whole.values() if counted), Counters())
    names = ["completion_tokens"] + (["steps", "drafted", "accepted"] if run.told else [])
    counted = [name for name in names if getattr(server, name) is not None]
    off = [n for n in counted if getattr(mine, n) != getattr(server, n)]
    if whole and off:
        told = "; ".join(f"{n} {getattr(mine, n)} and {getattr(server, n)}" for n in off)
        yield (
            "counters_differ",
            f"sums over requests and the server's counters differ: {told}; did another client"
            " use the server?",
        )
    open_ = sum(record.window not in {w.window for w in run.closed} for record in run.good)
    if open_:
        yield (
            "window_not_closed",
            f"{open_} of {len(run.good)} requests are of a window that was killed: the server's"
            " counters do not hold them",
        )


def _control(run: ArmRun) -> Found:
    """Of the first round, which is asked again."""
    measured = {record.key for record in run.good if not record.round}
    missing = len(measured - {record.key for record in run.control})
    if run.controlled and missing:
        yield (
            "control_incomplete",
            f"{missing} of {len(measured)} answers have no control: vanilla could not be asked for"
            " them once more, so margins and its own differences are missing",
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


def _beyond_noise(same: Lossless) -> Found:
    """Rounding turns near ties over; it does not turn over what vanilla was sure of."""
    sure = [d for d in same.divergences if d.margin is not None and d.margin > NOISE_NATS]
    if sure:
        worst = max(sure, key=lambda each: each.margin or 0.0)
        yield (
            "diverges_beyond_noise",
            f"{len(sure)} answers leave vanilla's where it preferred its token by more than"
            f" {NOISE_NATS} nats; most, {worst.margin:.2f}, in {worst.prompt_id} at character"
            f" {worst.character}",
        )


CHECKS = (
    _errors,
    _lengths,
    _loops,
    _tokens,
    _template,
    _speculation,
    _undrafted,
    _sampling,
    _rates,
    _counters,
    _control,
    _files,
    _sources,
)
