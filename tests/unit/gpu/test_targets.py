"""Targets by figures: met at the limit, missed above it, and silent where nothing was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recipes.gpu.bf16 import compare, faults, margin, verdict
from recipes.gpu.targets import NONE, Check, break_even, checks, draft_share

from . import samples
from .samples import PLAN


def verdicts(found: dict[str, Any]) -> list[bool | None]:
    return [check.met for check in checks(PLAN, found)]


def test_all_just_met() -> None:
    assert verdicts(samples.everything()) == [True] * 9


@pytest.mark.parametrize(
    ("place", "worse"),
    [
        (0, {"kernels": samples.counts(failed=1)}),
        (1, {"identity": samples.counts(failed=1)}),
        (2, {"bf16": samples.bf16(margin=0.6)}),
        (2, {"bf16": samples.bf16(margin=None)}),
        (3, {"attention": samples.attention(ratio=3.99)}),
        (4, {"attention": samples.attention(of_copy=1 / 1.31)}),
        (5, {"draft": samples.draft(grown=1.04)}),
        (5, {"draft": samples.draft(grown=0.9)}),
        (6, {"cycle": samples.cycle(first=1.26)}),
        (7, {"cycle": samples.cycle(last=1.21)}),
        (8, {"cycle": samples.cycle(share=0.13)}),
    ],
)
def test_one_missed(place: int, worse: dict[str, Any]) -> None:
    expected: list[bool | None] = [True] * 9
    expected[place] = False
    assert verdicts(samples.everything() | worse) == expected


def test_nothing_measured_is_no_verdict() -> None:
    found = checks(PLAN, {})
    assert [check.met for check in found] == [None] * 9
    assert {check.found for check in found} == {NONE}


def test_tests_that_were_all_skipped_show_nothing() -> None:
    found = {"kernels": {"passed": 0, "failed": 0, "skipped": 5, "names": []}}
    assert checks(PLAN, found)[0].met is None


def test_answers_without_an_accepted_draft_show_nothing() -> None:
    assert checks(PLAN, {"bf16": samples.bf16(length=1.0)})[2].met is None
    assert checks(PLAN, {"bf16": samples.bf16(margin=0.6, length=1.0)})[2].met is False


def test_targets_of_a_cycle_speak_of_sixteen_nodes() -> None:
    other = replace(PLAN, tree=(4, 4))
    cycles: list[Check] = checks(other, samples.everything())[6:8]
    assert [(check.found, check.met) for check in cycles] == [(NONE, None)] * 2


def test_break_even() -> None:
    found = samples.cycle(first=1.5)
    assert break_even(found, 512, 1) == pytest.approx(1.5)
    assert break_even(found, 512, 8) is None
    found["arms"]["vanilla"]["rows"][0] = {"context": 512, "batch": 1, "error": "out of memory"}
    assert break_even(found, 512, 1) is None


def test_share_of_drafting() -> None:
    assert draft_share(samples.row(512, 1, 10.0, draft=1.2)) == pytest.approx(0.12)
    assert draft_share(samples.row(512, 1, 10.0)) is None


def test_margins_tell_rounding_from_faults() -> None:
    known = [[1.0, 0.01, 3.0], [1.0, 2.0, 3.0], [9.0, 9.0, 9.0]]
    base, other = [[1, 2, 3], [1, 2, 3], [7, 8, 9]], [[1, 5, 3], [1, 2, 4], [7, 8, 9]]
    found = compare(base, other, known)
    assert (found["same"], found["of"]) == (1, 3)
    assert [each["margin"] for each in found["parted"]] == [0.01, 3.0]
    assert [each["prompt"] for each in faults(found)] == [1]
    shorter = compare([[1, 2, 3]], [[1, 2, 3, 4]], [[1.0] * 3])
    assert [each["margin"] for each in faults(shorter)] == [None]


def test_vanilla_is_compared_with_itself_too() -> None:
    told = {"settings": {}, "AL": 2.0}
    vanilla = {**told, "alone": [[1, 2]], "together": [[1, 3]]}
    vanilla["margins"] = {"alone": [[5.0, 0.25]], "together": [[5.0, 0.75]]}
    found = verdict({"vanilla": vanilla, "tree": {**told, "alone": [[1, 2]], "together": [[1, 2]]}})
    assert found["control"]["parted"] == [{"prompt": 0, "token": 1, "margin": 0.25}]
    tree = found["arms"]["tree"]
    assert (tree["alone"]["same"], tree["together"]["same"]) == (1, 0)
    assert [each["margin"] for each in tree["together"]["faults"]] == [0.75]


def test_a_margin_is_of_the_token_and_the_best_other_one() -> None:
    assert margin(4, {4: -0.5, 9: -1.75, 2: -3.0}) == 1.25
    assert margin(9, {9: -1.0, 4: -0.75}) == -0.25
