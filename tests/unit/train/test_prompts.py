"""The recipe's prompts: many, distinct, repeatable, and none like the evaluation's."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "recipes" / "smollm2-135m-instruct"
HELD_OUT = ROOT / "eval" / "data" / "builtin.jsonl"
COUNT = 3000


def recipe_module(name: str) -> ModuleType:
    sys.path.insert(0, str(RECIPE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(RECIPE))


@pytest.fixture(scope="module")
def composed() -> list[tuple[str, str]]:
    prompts = recipe_module("prompts")
    assert prompts.compose(17) == prompts.compose(17)
    return [prompts.compose(index) for index in range(COUNT)]


def ngrams(text: str, n: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def test_prompts_are_mostly_distinct_and_every_run_of_them_is_a_mix(
    composed: list[tuple[str, str]],
) -> None:
    assert len({text for _, text in composed}) > 0.95 * COUNT
    assert len({category for category, _ in composed[100:112]}) == 11


@pytest.mark.skipif(not HELD_OUT.exists(), reason="the evaluation prompts are not in this checkout")
def test_no_prompt_shares_eight_words_in_a_row_with_the_evaluation(
    composed: list[tuple[str, str]],
) -> None:
    lines = [json.loads(line) for line in HELD_OUT.read_text().splitlines() if line.strip()]
    held_out = set().union(*(ngrams(turn) for line in lines for turn in line["turns"]))
    assert held_out
    shared = {gram for _, text in composed for gram in ngrams(text)} & held_out
    assert not shared


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (list(range(50)), None),
        ([9] * 60, 26),  # a block of one counts as a loop after 36 repetitions
        ([*range(20), *(list(range(30, 50)) * 3)], 60),
        ([*range(20), *(list(range(30, 50)) * 2)], None),
    ],
)
def test_loops_are_cut_after_two_rounds(tokens: list[int], kept: int | None) -> None:
    assert recipe_module("texts").loop_start(tokens) == kept
