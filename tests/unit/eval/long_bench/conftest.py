"""A target's folder, and the fake in place of what would be loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import proposers
from eval import aime, long_bench

from .fake import POSITIONS, FakeModel, FakeTokenizer

Command = Callable[..., int]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Folders ``target`` and ``draft``."""
    for name in ("target", "draft"):
        (tmp_path / name).mkdir()
    config = {"model_type": "llama", "max_position_embeddings": POSITIONS}
    (tmp_path / "target" / "config.json").write_text(json.dumps(config))
    (tmp_path / "target" / "tokenizer.json").write_text("{}")
    (tmp_path / "target" / "generation_config.json").write_text('{"eos_token_id": [3, 2]}')
    return tmp_path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """What ``load_glide_model`` returns in this test."""
    made = FakeModel()
    monkeypatch.setattr(proposers, "load_glide_model", lambda *given: made)
    use_tokenizer(monkeypatch, FakeTokenizer())
    return made


def use_tokenizer(monkeypatch: pytest.MonkeyPatch, tokenizer: FakeTokenizer) -> None:
    def load(folder: Path, **how: Any) -> FakeTokenizer:
        return tokenizer

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", load)


def _command(main: Callable[[list[str]], int], place: Path) -> Command:
    def run(*more: str) -> int:
        paths = ["--model", f"{place}/target", "--draft", f"{place}/draft"]
        return main([*paths, "--device", "cpu", "--output-dir", f"{place}/out", *more])

    return run


@pytest.fixture
def bench(place: Path) -> Command:
    """``long_bench`` with the folders of ``place``."""
    return _command(long_bench.main, place)


@pytest.fixture
def solve(place: Path) -> Command:
    """``aime``, likewise."""
    return _command(aime.main, place)
