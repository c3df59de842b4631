"""Nodes by batch size told by hand: read as vLLM reads them, and refused as plainly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proposers.load.schedule import NodeSchedule


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected a list of"),
        ([], "expected a list of"),
        ([[1, 4]], r"entry \[1, 4\]; expected"),
        ([[1, 4, "2"]], "entry .*; expected"),
        ([[1, 4, True]], "entry .*; expected"),
        ([[0, 4, 2]], "batch sizes from 1 up"),
        ([[4, 1, 2]], "the first not above the last"),
        ([[1, 4, -1]], "nodes from 0 up"),
        ([[2, 4, 1]], "the first batch size is 2; begin with an entry from 1 on"),
        ([[1, 4, 3], [4, 8, 1]], r"\[4, 8, 1\] begins within the sizes up to 4; .* not overlap"),
    ],
)
def test_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        NodeSchedule.read(value)
    assert "\n" not in str(caught.value)


@st.composite
def schedules(draw: st.DrawFn) -> list[list[int]]:
    """Ranges with and without gaps, in any order."""
    entries, first = [], 1
    for _ in range(draw(st.integers(1, 4))):
        last = first + draw(st.integers(0, 5))
        entries.append([first, last, draw(st.integers(0, 9))])
        first = last + 1 + draw(st.integers(0, 3))
    return draw(st.permutations(entries))


@given(schedules())
def test_as_vllms_own_lookup(entries: list[list[int]]) -> None:
    utils = pytest.importorskip("vllm.v1.spec_decode.dynamic.utils")
    ours = NodeSchedule.read(entries)
    theirs = utils.build_dynamic_sd_schedule_lookup(entries, 40, 9)
    assert [ours.nodes(size) for size in range(1, 41)] == theirs[1:]
    assert NodeSchedule.read(ours.to_json()) == ours
