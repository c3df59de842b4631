"""AIME: which problems, what counts as the answer, and how many are right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval import aime
from eval.long_bench import problems

from .conftest import Command
from .fake import FakeModel, jsonl, records


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so it is \\boxed{42}.", "42"),
        ("\\boxed{1} and then \\boxed{ 2 } of 3", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{7} and \\boxed{8", "7"),
        ("first 12, then -7.", "-7"),
        ("a total of 1,234", "1,234"),
        ("the 3 sides are 2.5 long", "3"),
        ("x2 and nothing else", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert problems.final_answer(text) == answer


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("42", "42", True),
        ("042", "42", True),
        ("$1{,}234$", "1234", False),
        ("1,234", "1234", True),
        ("42\\,", "042", True),
        ("\\text{42}", "42", True),
        ("43", "42", False),
        ("x", "x", True),
        (None, "0", False),
    ],
)
def test_same(answer: str | None, reference: str, right: bool) -> None:
    assert problems.same(answer, reference) is right


def test_answers_are_graded(
    solve: Command, place: Path, fake: FakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Right answers count in the warm-up, too; its speed does not."""
    fake.text = "thus \\boxed{080}"
    assert solve() == 0
    found = records(place / "out" / "aime_tree.jsonl")
    assert [r.id for r in found] == ["1", "2", "3", "4", "5", "6"]
    assert [r.correct for r in found] == [True] + 5 * [False]
    assert (found[0].answer, found[0].reference) == ("080", "80")
    summary = json.loads((place / "out" / "aime_tree.summary.json").read_text())["summary"]
    assert (summary["right"], summary["graded"], summary["samples"]) == (1, 6, 5)
    shown = capsys.readouterr()
    assert "answer 080 right (warm-up, in no average)" in shown.err
    assert "1 of 6" in shown.out
    prompt = fake.calls[0][1]
    assert prompt.startswith("<user>Lena has 5 boxes")
    assert prompt.endswith("end with the answer alone in \\boxed{}.<answer>")


@pytest.mark.parametrize(
    ("bounds", "ids"),
    [
        ("", "123456"),
        ("--id-min 2 --id-max 4", "234"),
        ("--id-min 5", "56"),
        ("--id-max 1", "1"),
        ("--id-min 0 --id-max 99", "123456"),
    ],
)
def test_bounds_are_inclusive(
    bounds: str, ids: str, solve: Command, place: Path, fake: FakeModel
) -> None:
    assert solve(*bounds.split()) == 0
    assert [r.id for r in records(place / "out" / "aime_tree.jsonl")] == list(ids)


def test_bounds_without_problems(solve: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve("--id-min", "7", "--id-max", "9") == 2
    assert capsys.readouterr().err == (
        "aime: error: --id-min 7 --id-max 9: no such problem; aime.jsonl has ids 1 to 6\n"
    )


def test_a_later_last_id_goes_on(solve: Command, place: Path, fake: FakeModel) -> None:
    assert solve("--id-min", "2", "--id-max", "3") == 0
    assert solve("--id-min", "2", "--id-max", "4") == 0
    assert [r.id for r in records(place / "out" / "aime_tree.jsonl")] == ["2", "3", "4"]
    assert solve("--id-min", "1") == 2


def test_formats(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(
        place / "mixed.jsonl",
        {"ID": "2024-I-1", "Problem": "What?", "Answer": 33},
        {"question": "Why?", "answer": "7"},
        {"id": 60, "problem": "How {x}?", "answer": "1"},
    )
    found = problems.load(str(path)).samples
    assert [(s.id, s.reference) for s in found] == [("2024-I-1", "33"), ("2", "7"), ("60", "1")]
    assert found[2].prompt.startswith("How {x}?\n\nThe answer")


def test_bounds_on_ids_that_are_no_numbers(
    solve: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"ID": "2024-I-1", "Problem": "What?", "Answer": 33}
    path = jsonl(place / "text.jsonl", row)
    assert solve("--data-path", str(path), "--id-min", "1") == 2
    assert capsys.readouterr().err == (
        f"aime: error: {path}: id 2024-I-1 is no whole number; leave out --id-min and --id-max\n"
    )


def test_where_the_log_is(place: Path, fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LongSpec's own script writes it, unless another folder or file is asked for."""
    monkeypatch.chdir(place)
    line = ["--model", "target", "--draft", "draft", "--device", "cpu", "--id-max", "2"]
    assert aime.main(line) == 0
    assert "Sample 1:" in (place / "long-bench_results" / "output_aime.txt").read_text()
    assert not (place / "aime_results" / "output_aime.txt").exists()
    assert aime.main([*line, "--output-dir", "other"]) == 0
    assert (place / "other" / "output_aime.txt").is_file()
    assert aime.main([*line, "--overwrite", "--log", "mine.txt"]) == 0
    assert (place / "mine.txt").is_file()


@pytest.mark.parametrize("answer", ["abc", "", "3.5", "\\frac12"])
def test_answers_that_are_no_numbers(
    solve: Command, place: Path, capsys: pytest.CaptureFixture[str], answer: object
) -> None:
    good = {"id": 1, "problem": "What?", "answer": 33.0}
    path = jsonl(place / "text.jsonl", good, {"id": 2, "problem": "Why?", "answer": answer})
    assert solve("--data-path", str(path)) == 2
    told = f"{path}:2: answer {str(answer)!r} is no whole number, as AIME's are\n"
    assert capsys.readouterr().err == f"aime: error: {told}"
    assert problems.load(str(jsonl(path, good))).samples[0].reference == "33"
