"""Our own sets: they load, are alike in every run, and are as long as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from eval.datasets import Prompt, load, spread
from recipes.eval.sets import SETS, extraction, write
from recipes.setup.target import complete, target_folder

COUNTS = {"edits": 64, "json": 64, "documents": 12}


@pytest.fixture
def prompts(tmp_path: Path) -> dict[str, list[Prompt]]:
    return {name: load(str(path)) for name, path in write(tmp_path / "sets").items()}


def test_all_load_and_no_prompt_comes_twice(prompts: dict[str, list[Prompt]]) -> None:
    assert {name: len(found) for name, found in prompts.items()} == COUNTS
    for found in prompts.values():
        assert len({prompt.turns[0] for prompt in found}) == len(found)


def test_alike_in_every_run(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first"), write(tmp_path / "second")
    assert all(first[name].read_bytes() == second[name].read_bytes() for name in SETS)


def test_lengths_in_tokens_of_the_target(prompts: dict[str, list[Prompt]]) -> None:
    if not complete(folder := target_folder()):
        pytest.skip("the default target is not prepared; run `make target`")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    limits = {"edits": (150, 500), "json": (150, 500), "documents": (4000, 7000)}
    for name, (least, most) in limits.items():
        sizes = [len(tokenizer(prompt.turns[0])["input_ids"]) for prompt in prompts[name]]
        assert least <= min(sizes), name
        assert max(sizes) <= most, name


def test_a_file_is_edited_again_after_all_others(prompts: dict[str, list[Prompt]]) -> None:
    order = [prompt.category for prompt in spread(prompts["edits"], None)]
    assert order == order[:8] * 8
    first, later = prompts["edits"][0].turns[0], prompts["edits"][8].turns[0]
    assert first != later
    assert first.partition("```")[2] == later.partition("```")[2]  # the same file


def test_texts_say_what_their_schema_asks_for() -> None:
    for asked, _ in extraction.KINDS.values():
        assert asked["required"] == list(asked["properties"])
    text = next(row["prompt"] for row in extraction.rows(1) if row["category"] == "ticket")
    assert '"wants_refund": {"type": "boolean"}' in text
    assert "serial number is" in text
