"""From a target to a draft in one command, with the engine's own answers; tiny, and resumed."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from proposers import load_glide_model
from proposers.offline.loading import load_target
from proposers.offline.target import OfflineTarget
from proposers.pretrained import read_config
from proposers.train.__main__ import main as command
from proposers.train.answers.chat import Chat
from proposers.train.answers.client import Completion
from proposers.train.answers.engine import Engine
from proposers.train.answers.store import read_answers
from recipes.train import minutes

from .answering import EOS, VOCABULARY, write_target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_target(tmp_path_factory.mktemp("minutes") / "target")
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def prompts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    sizes = torch.randint(3, 60, (count,), generator=generator).tolist()
    most = len(VOCABULARY)
    return [torch.randint(EOS + 1, most, (n,), generator=generator).tolist() for n in sizes]


def asked(
    engine: Engine, given: Sequence[tuple[list[int], int, float]]
) -> list[Completion | BaseException]:
    async def all_of_them() -> list[Completion | BaseException]:
        answers = await asyncio.gather(
            *(engine.complete(*one) for one in given), return_exceptions=True
        )
        await engine.aclose()
        return answers

    return asyncio.run(all_of_them())


def loaded(target: Path, until: float = math.inf) -> Engine:
    """In float32, where batches change no token."""
    model = load_target(target, read_config(target), torch.device("cpu"), torch.float32)
    return Engine(OfflineTarget(model), Chat(target), 4096, until)


def test_greedy_rows_are_the_engines_own_whatever_is_beside_them(target: Path) -> None:
    """Each with its own room; rows that are drawn stand between."""
    engine = loaded(target)
    model = load_glide_model(target, device="cpu", dtype=torch.float32)
    given = [(ids, 4 + 3 * i % 17, 0.9 * (i % 2)) for i, ids in enumerate(prompts(12))]
    for (ids, room, heat), found in zip(given, asked(engine, given), strict=True):
        assert isinstance(found, Completion)
        assert (found.finish == "stop") == (found.ids[-1] == EOS)
        assert len(found.ids) == room or found.finish == "stop"
        if not heat:
            free = model.vanilla_generate(torch.tensor([ids]), len(ids), room, EOS)[0][0].tolist()
            assert free[: len(found.ids)] == found.ids


def test_drawn_answers_differ(target: Path) -> None:
    ids = prompts(1)[0]
    found = asked(loaded(target), [(ids, 12, heat) for heat in [1.5] * 8 + [0.0] * 4])
    texts = [tuple(one.ids) for one in found if isinstance(one, Completion)]
    assert len(set(texts[:8])) > 1
    assert len(set(texts[8:])) == 1


def test_batches_hold_like_lengths_and_no_more_than_there_is_room_for(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, batches = loaded(target), []
    engine.tokens = 200
    decode = engine._decode

    def note(batch: list[object]) -> list[Completion]:
        batches.append([one.size for one in batch])  # type: ignore[attr-defined]
        return decode(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "_decode", note)
    asked(engine, [(ids, 4, 0.0) for ids in prompts(30)])
    assert sum(map(len, batches)) == 30
    for sizes in batches:
        assert max(sizes) < 2 * min(sizes) + 1
        assert max(sizes) * len(sizes) <= 200
    assert max(map(len, batches)) > 2


def test_time_that_is_over_cuts_answers_short(target: Path) -> None:
    (found,) = asked(loaded(target, time.monotonic()), [(prompts(1)[0], 400, 0.0)])
    assert isinstance(found, Completion)
    assert (len(found.ids), found.finish) in [(1, "length"), (1, "stop")]


def test_what_goes_wrong_reaches_everyone(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loaded(target)

    def fail(batch: list[object]) -> list[Completion]:
        raise ValueError("no memory")

    monkeypatch.setattr(engine, "_decode", fail)
    found = asked(engine, [(ids, 4, 0.0) for ids in prompts(5)])
    assert [str(one) for one in found] == ["no memory"] * 5


def test_a_draft_in_one_command(
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pieces that were left out, and one that failed, are made up for by the same command."""
    calls: list[str] = []

    def call(line: Sequence[str]) -> int:
        calls.append(line[3])
        return 1 if failing == [line[3]] else command(list(line[3:]))

    failing: list[str] = []
    monkeypatch.setattr(minutes, "call", call)
    monkeypatch.setitem(minutes.SIZES, "cpu", SMALL)
    line = ["--target", str(target), "--data", str(tmp_path / "data"), "--device", "cpu"]
    line += ["--minutes", "0.1"]
    assert minutes.main([*line, "--pieces", "answers,held_out"]) == 0
    failing = ["train"]
    assert minutes.main(line) == 1
    failing = []
    assert minutes.main(line) == 0
    made = ["answers", "answers", "features", "features", "train", "train", "evaluate"]
    assert calls == made
    assert "answers is done" in capsys.readouterr().err
    answers = list(read_answers(tmp_path / "data" / "answers" / "answers.jsonl"))
    assert sum(answer.tokens for answer in answers) >= SMALL["answers"]["tokens"]
    report = json.loads((tmp_path / "data" / "report" / "report.json").read_text())
    assert {result["name"] for result in report["results"]} >= {"served", "1-1-1-1"}
    assert minutes.main([*line[:-1], "0.3"]) == 2
    assert "was begun with minutes=0.1, not 0.3" in capsys.readouterr().err


SMALL = {
    "answers": {"streams": 16, "lengths": [8, 16], "tokens": 3000, "self-written": 0},
    "held_out": {"streams": 16, "lengths": [8, 8], "categories": ""},
    "features": {},
    "train": {"batch-tokens": 256, "draft-vocab": 0},
    "evaluate": {"sequences": 4, "tokens": 8},
}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--minutes", "0"], "minutes=0.0: expected a number above 0"),
        (["--pieces", "answers,eat"], "pieces: 'eat' is unknown; allowed: answers, held_out"),
        (["--device", "tpu"], "device='tpu'"),
    ],
)
def test_wrong_plans(
    target: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert minutes.main(["--target", str(target), *more]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
