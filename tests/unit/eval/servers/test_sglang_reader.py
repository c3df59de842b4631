"""SGLang's formats: counters, details of a response, and files of requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.numbers.metrics import gap
from eval.numbers.runs import acceptance_length
from eval.records.counters import Counters, SpecStats
from eval.servers.readers.sglang import SglangReader

from ..fake_sglang import WARM_UP, SglangScript

READER = SglangReader()
STATS = SpecStats(steps=6, drafted=60, accepted=7, per_position=[4, 2, 1])
NEW = {
    "spec_verify_ct": 6,
    "spec_num_correct_drafts": 7,
    "spec_num_proposed_drafts": 60,
    "spec_correct_drafts_histogram": [2, 2, 1, 1],
}
OLD = {
    "spec_verify_ct": 6,
    "spec_accept_token_num": 7,
    "spec_draft_token_num": 60,
    "spec_accept_histogram": [2, 2, 1, 1, 0],
}


@pytest.mark.parametrize("told", [NEW, OLD], ids=["0.5.23", "older"])
def test_a_response_tells_the_histogram(told: dict[str, object]) -> None:
    assert READER.of_response({"sglext": {"spec_tokens_details": told}}) == STATS


@pytest.mark.parametrize("extra", [{}, {"sglext": None}, {"sglext": {"input_ids": [1]}}])
def test_a_response_without_steps_tells_nothing(extra: dict[str, object]) -> None:
    assert READER.of_response(extra) is None


def test_counters_are_summed_over_labels_and_gauges_left_alone() -> None:
    script = SglangScript(totals={"generation_tokens_total": 21, "spec_verify_calls_total": 7})
    found = READER.counters(script.exposition())
    assert found == Counters(7, None, None, completion_tokens=21)
    assert acceptance_length(found) == 3.0


def test_a_counter_without_a_value_yet_is_zero() -> None:
    assert READER.counters(SglangScript().exposition()) == Counters(0, None, None)
    assert READER.counters("# TYPE vllm:x gauge\nvllm:x 1.0\n") is None


def test_counters_that_fell_are_noticed() -> None:
    before, after = Counters(9, None, None, [], 40), Counters(2, None, None, [], 50)
    assert (after - before).went_back
    assert not (before - before).went_back
    assert (Counters() + before).accepted is None


def test_all_hourly_files_are_read_in_both_spellings(tmp_path: Path) -> None:
    for hour, lines in (("11", [WARM_UP, {"id": "a", **OLD}]), ("12", [{"id": "b", **NEW}])):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"sglang-request-metrics-20261121_{hour}.log").write_text(text + '{"id": "c')
    (tmp_path / "other.log").write_text('{"id": "d"}\n')
    found = READER.of_folder(tmp_path)
    assert found["a"] == found["b"] == STATS
    assert set(found) == {"a", "b", "of-the-server"}


def test_a_request_without_a_step_is_in_the_file_with_zeros(tmp_path: Path) -> None:
    (tmp_path / "sglang-request-metrics-1.log").write_text('{"id": "a"}\n')
    assert READER.of_folder(tmp_path) == {"a": SpecStats(0, 0, 0, [])}
    assert READER.of_folder(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([2.0], None), ([2.0, 2.0], 0.0), ([2.2, 2.0, 2.5], 0.25)]
)
def test_gap(values: list[float], expected: float | None) -> None:
    assert gap(values) == expected
