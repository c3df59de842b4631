"""What is on disk survives a kill at any byte, and a run goes on only as it was begun."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.cli.errors import UserError
from eval.cli.options import Options
from eval.cli.sweep import Condition, Place
from eval.records.counters import Counters
from eval.records.journal import Journal, counters_as_dict
from eval.records.requests import RequestRecord
from eval.records.windows import WindowRecord

PLACE = Place("x", 0, Condition())


def journal(folder: Path, **more: object) -> Journal:
    made = Journal(Options.model_validate({"output_dir": folder, **more}))
    made.start()
    return made


def record(prompt: str, **more: object) -> RequestRecord:
    return RequestRecord.model_validate(
        {"arm": "x", "prompt_id": prompt, "category": "c", "text": "naïve", **more}
    )


def test_a_run_is_taken_up(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.add(record("a"))
    first.add(record("b", error="broken"))
    again = journal(tmp_path, resume=True)
    assert [r.prompt_id for r in again.records] == ["a"]
    assert set(again.known(PLACE)) == {("a", 0)}
    again.add(record("b"))
    last = journal(tmp_path, resume=True)
    assert [r.prompt_id for r in last.records] == ["a", "b"]
    assert [r.error for r in last.failed] == ["broken"]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_a_kill_at_any_byte_loses_one_record_at_most(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    first = journal(folder)
    for name in "abc":
        first.add(record(name))
    path = folder / "requests.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))])
    kept = [r.prompt_id for r in journal(folder, resume=True).records]
    assert kept == list("abc")[: whole[: min(cut, len(whole))].count(b"\n")]
    more = journal(folder, resume=True)
    more.add(record("d"))
    assert [r.prompt_id for r in journal(folder, resume=True).records] == [*kept, "d"]


def test_an_unfinished_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    journal(tmp_path).add(record("a"))
    with pytest.raises(UserError) as error:
        journal(tmp_path)
    assert str(error.value) == (
        f"--output-dir {tmp_path}: holds an unfinished run with 1 requests; give --resume to go on"
        " with it, or --overwrite to start again"
    )
    assert journal(tmp_path, overwrite=True).records == []


def test_a_finished_run_is_replaced(tmp_path: Path) -> None:
    journal(tmp_path).add(record("a"))
    (tmp_path / "results.json").write_text('{"complete": true}')
    assert journal(tmp_path).records == []
    assert not (tmp_path / "results.json").exists()


def test_a_run_of_other_options_is_not_taken_up(tmp_path: Path) -> None:
    journal(tmp_path, output_len=64).add(record("a"))
    with pytest.raises(UserError) as error:
        journal(tmp_path, resume=True)
    assert str(error.value) == (
        f"--resume: {tmp_path} was begun with --output-len 64, not 128; give that, or --overwrite"
        " to start again"
    )
    assert journal(tmp_path, resume=True, output_len=64, port=9).records


def test_a_line_of_another_version(tmp_path: Path) -> None:
    journal(tmp_path)
    (tmp_path / "requests.jsonl").write_text('{"old": 1}\n{"old": 2}\n')
    with pytest.raises(UserError, match=r"requests.jsonl:1: not a record of this version"):
        journal(tmp_path, resume=True)


def test_windows_keep_their_counters(tmp_path: Path) -> None:
    told = Counters(3, None, 4, [2, 2], 9)
    place = {"window": "w", "arm": "x", "round": 0, "concurrency": 1, "temperature": 0.0}
    window = WindowRecord(**place, started=1.0, ended=2.0, counters=counters_as_dict([told]))
    journal(tmp_path).add_window(window)
    assert journal(tmp_path, resume=True).windows[0].counted == told
    assert window.place == PLACE


def test_replicas_are_summed() -> None:
    one = Counters(1, 2, 3, [1], 4)
    assert counters_as_dict([one, one]) == {
        "steps": 2,
        "drafted": 4,
        "accepted": 6,
        "per_position": [2],
        "completion_tokens": 8,
        "offered": False,
    }
    assert counters_as_dict([one, None]) is None
