"""Stopping, going on, and refusing to mix what does not belong together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command
from .fake import FakeModel, records


@pytest.fixture
def path(place: Path) -> Path:
    return place / "out" / "gov_report_tree.jsonl"


def summary(path: Path) -> dict[str, object]:
    return dict(json.loads(path.with_suffix(".summary.json").read_text()))


def test_ctrl_c_keeps_what_there_is(
    bench: Command, path: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.stop_at = 2
    assert bench() == 130
    shown = capsys.readouterr()
    assert "AL pooled" in shown.out
    assert shown.err.endswith("stopped by Ctrl-C; the same command goes on from here\n")
    assert len(records(path)) == 2
    assert summary(path)["complete"] is False

    fake.stop_at = None
    assert bench() == 0
    assert [r.index for r in records(path)] == [0, 1, 2]
    assert summary(path)["complete"] is True
    assert len(summary(path)["runs"]) == 2  # type: ignore[arg-type]
    assert len(fake.calls) == 4, "sample 0 warms the new process up, and is not recorded again"
    assert "warming up again" in capsys.readouterr().err


@pytest.mark.parametrize("torn", ['{"task": "gov', '{"task": "gov\n', '{"task": "gov\xe9'])
def test_a_torn_last_line_is_measured_again(
    torn: str, bench: Command, path: Path, fake: FakeModel
) -> None:
    assert bench() == 0
    first, second, _ = path.read_text().splitlines(keepends=True)
    path.write_bytes((first + second + torn).encode("latin-1"))
    assert bench() == 0
    assert [r.index for r in records(path)] == [0, 1, 2]
    assert path.read_text().startswith(first + second)


def test_a_bad_line_in_the_middle_is_refused(
    bench: Command, path: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench() == 0
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + "{}\n" + lines[2])
    capsys.readouterr()
    assert bench() == 2
    assert capsys.readouterr().err == (
        f"long_bench: error: {path}:2: not a record of this version; give --overwrite to start"
        " again\n"
    )


def test_nothing_left_to_do_loads_nothing(bench: Command, fake: FakeModel, path: Path) -> None:
    assert bench() == 0
    before = path.read_bytes()
    fake.stop_at = 3
    assert bench() == 0
    assert bench("--resume", "--test-length", "2") == 0
    assert path.read_bytes() == before
    assert len(fake.calls) == 3


def test_a_longer_run_goes_on(bench: Command, fake: FakeModel, path: Path) -> None:
    assert bench("--test-length", "1") == 0
    assert bench("--test-length", "3") == 0
    assert [r.index for r in records(path)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--max-gen-len", "9"], "max_gen_len 256, this run has 9"),
        (["--tree-shape", "2,1"], "tree_shape [4, 16, 16, 16, 16], this run has [2, 1]"),
        (["--temperature", "0.5"], "temperature 0.0, this run has 0.5"),
        (["--max-prompt-len", "99"], "max_prompt_len 3840, this run has 99"),
    ],
)
def test_other_settings_are_refused_by_name(
    more: list[str],
    told: str,
    bench: Command,
    path: Path,
    fake: FakeModel,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bench() == 0
    capsys.readouterr()
    assert bench(*more) == 2
    assert capsys.readouterr().err == (
        f"long_bench: error: {path}: made with {told}; give --overwrite to start again, or"
        " another --output-dir\n"
    )
    assert len(fake.calls) == 3
    assert bench("--overwrite", *more) == 0
    assert len(fake.calls) == 6
    assert len(records(path)) == 3


def test_settings_that_the_method_does_not_use_may_change(bench: Command, fake: FakeModel) -> None:
    assert bench() == 0
    assert bench("--gamma", "7", "--seed", "5") == 0
    assert len(fake.calls) == 3


def test_lost_settings_are_refused_by_their_hash(
    bench: Command, path: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench() == 0
    path.with_suffix(".summary.json").write_text("{")
    assert bench("--max-gen-len", "9") == 2
    assert "made with other settings; give --overwrite" in capsys.readouterr().err
    assert bench() == 0


def test_a_failed_run_with_overwrite_drops_nothing(
    bench: Command, path: Path, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench() == 0
    before = path.read_bytes()

    def broken(*given: object) -> None:
        raise ValueError("draft x does not fit\nthe target")

    monkeypatch.setattr("proposers.load_glide_model", broken)
    assert bench("--overwrite") == 2
    assert path.read_bytes() == before
    assert summary(path)["complete"] is True
