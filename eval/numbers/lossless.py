"""Is the output vanilla's? Compared answer by answer, with vanilla once more as the control."""

from __future__ import annotations

from collections.abc import Iterable

from ..records.requests import ControlRecord, RequestRecord, same_answer
from ..records.results import Divergence, Lossless
from . import metrics
from .runs import ArmRun

Answer = RequestRecord | ControlRecord
Pairs = Iterable[tuple[RequestRecord, Answer]]


def lossless(run: ArmRun, vanilla: ArmRun | None) -> Lossless | None:
    """None where sampling makes answers differ anyway, or there is nothing to compare with.

    Answers are compared where both had the same input: the same round, and all turns before it
    equal. Two of which neither tokens nor a text came are not compared. Divergences are listed once
    per prompt and turn.
    """
    if vanilla is None or run.condition.temperature > 0:
        return None
    margins = {record.key: record for record in vanilla.control}
    if run is vanilla:
        first = {record.key: record for record in run.good if record.round == 0}
        pairs: Pairs = [(first[key], c) for key, c in margins.items() if key in first]
    else:
        pairs = list(_same_input(run, vanilla))
    told = [(base, other) for base, other in pairs if same_answer(base, other) is not None]
    found = [(base, _divergence(base, other, margins.get(base.key))) for base, other in told]
    different = {base.key: each for base, each in reversed(found) if each is not None}
    if not found:
        return None
    return Lossless(
        identical=sum(each is None for _, each in found),
        compared=len(found),
        divergences=[different[key] for key in sorted(different)],
    )


def _same_input(run: ArmRun, vanilla: ArmRun) -> Pairs:
    base = {(record.round, *record.key): record for record in vanilla.good}
    mine = {(record.round, *record.key): record for record in run.good}
    for (round_, prompt, turn), record in mine.items():
        here = [(round_, prompt, each) for each in range(turn + 1)]
        if all(each in base and each in mine for each in here) and all(
            base[each].text == mine[each].text for each in here[:-1]
        ):
            yield base[here[-1]], record


def _divergence(
    base: RequestRecord, other: Answer, control: ControlRecord | None
) -> Divergence | None:
    """The margin is told where the control agrees with vanilla up to there and one token on.

    By token ids where all have them: a character of several tokens may part before it is whole.
    Where a model thinks or calls tools, markers that no text shows stand between: ids alone tell.
    """
    if same_answer(base, other):
        return None
    at = metrics.first_difference(base.whole, other.whole)
    found = Divergence(
        prompt_id=base.prompt_id, turn=base.turn, character=len(base.whole) if at is None else at
    )
    if control is None:
        return found
    if base.all_ids and other.all_ids and control.all_ids:
        token = metrics.first_difference(base.all_ids, other.all_ids)
        same = metrics.first_difference(base.all_ids, control.all_ids)
        agrees = token is not None and (same is None or same > token)
    elif at is not None and base.whole == base.text and control.whole == control.text:
        token = control.token_at(at)
        agrees = control.text[: at + 1] == base.text[: at + 1]
    else:
        return found
    if agrees and token is not None and token < len(control.margins):
        found.token, found.margin = token, control.margins[token]
    return found
