"""The features command: its rows are those of a plain forward, and nothing is lost or doubled."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from proposers.train.features import run
from proposers.train.features.answers import Sequence
from proposers.train.features.forward import Target
from proposers.train.features.shards import (
    Source,
    bytes_per_token,
    held_out,
    load_shard,
    open_index,
)
from proposers.train.features.writer import Writer

transformers = pytest.importorskip("transformers")
VOCABULARY, LIMIT = 60, 256


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp(request.param), request.param)


def write_model(folder: Path, kind: str) -> Path:
    """Two layers with random weights, in float32."""
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LIMIT,
        initializer_range=0.2,
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_answers(path: Path, lengths: list[int], prompt: int = 4) -> list[dict[str, Any]]:
    draw = random.Random(7)
    lines = []
    for i, length in enumerate(lengths):
        tokens = [draw.randrange(VOCABULARY) for _ in range(length)]
        lines.append(
            {
                "id": f"a{i}",
                "category": ("code", "chat")[i % 2],
                "source": "composed",
                "prompt_ids": tokens[:prompt],
                "answer_ids": tokens[prompt:],
                "temperature": 0.7 * (i % 2),
                "finish": "stop",
            }
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


def features(target: Path, data: Path, **options: object) -> int:
    """Run the command in this process, in float32; returns the exit status."""
    given = {"target": target, "data": data, "dtype": "float32", "device": "cpu", **options}
    return run.main([f"--{k.replace('_', '-')}={v}" for k, v in given.items()])


def sequences(folder: Path) -> dict[str, dict[str, Any]]:
    """What a feature folder holds, by id."""
    found: dict[str, dict[str, Any]] = {}
    for shard in open_index(folder).shards:
        data = load_shard(folder, shard)
        offsets = data["offsets"].tolist()
        rows = [name for name, tensor in data.items() if len(tensor) == shard.tokens]
        for i, name in enumerate(shard.ids):
            assert name not in found
            per = {k: int(data[k][i]) for k in ("greedy", "held_out", "prompt_len")}
            per |= {k: int(data[k][i]) for k in ("anchor", "shift")}
            at = slice(offsets[i], offsets[i + 1])
            found[name] = {"category": shard.categories[i], **per, **{k: data[k][at] for k in rows}}
    return found


@torch.no_grad()
def plain(target: Path, tokens: list[int], positions: list[int]) -> dict[str, Tensor]:
    """One whole forward of transformers with eager attention."""
    model = transformers.AutoModelForCausalLM.from_pretrained(target, attn_implementation="eager")
    ids = torch.tensor([tokens])
    out = model(
        ids,
        attention_mask=torch.ones_like(ids),
        position_ids=torch.tensor([positions]),
        output_hidden_states=True,
    )
    last = out.past_key_values.layers[-1]
    return {
        "keys": last.keys[0].transpose(0, 1),
        "values": last.values[0].transpose(0, 1),
        "hidden": out.hidden_states[-1][0],
        "logits": out.logits[0],
    }


def check(target: Path, line: dict[str, Any], found: dict[str, Any], top: int, first: int) -> None:
    """Compare stored rows with a plain forward, within bfloat16."""
    tokens = found["tokens"].tolist()
    assert tokens == (line["prompt_ids"] + line["answer_ids"])[: len(tokens)]
    positions = [i + found["shift"] * (i >= found["anchor"]) for i in range(len(tokens))]
    expected = plain(target, tokens, positions)
    for name in ("keys", "values", "hidden"):
        assert found[name].dtype == torch.bfloat16
        torch.testing.assert_close(found[name].float(), expected[name], rtol=1e-2, atol=2e-3)
    if not top:
        assert "top_logits" not in found
        return
    logits = expected["logits"][first:]
    assert not found["log_norm"][:first].any()
    assert not found["top_logits"][:first].any()
    close = {"rtol": 2e-3, "atol": 2e-3}
    torch.testing.assert_close(found["log_norm"][first:], logits.logsumexp(-1), **close)
    torch.testing.assert_close(found["top_logits"][first:].float(), logits.topk(top)[0], **close)
    picked = logits.gather(1, found["top_tokens"][first:].long())
    torch.testing.assert_close(picked, logits.topk(top)[0], **close)


@pytest.mark.parametrize(
    "options",
    [
        {"top": 5, "head_from": 2, "batch_tokens": 100},
        {"top": 0, "chunk": 7},
        {"top": 3, "head_from": 0, "chunk": 16, "anchor_offset": 1.0, "batch_tokens": 64},
    ],
    ids=["batches", "chunks", "chunks-and-moved"],
)
def test_rows_are_those_of_a_plain_forward(
    target: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    lines = write_answers(tmp_path / "answers" / "answers.jsonl", [9, 31, 20, 45, 12, 6])
    assert features(target, tmp_path, shard_tokens=60, **options) == 0
    found = sequences(tmp_path / "features")
    assert len(found) == len(lines)
    for line in lines:
        one = found[line["id"]]
        first = max(0, 4 - options.get("head_from", 0))
        check(target, line, one, options["top"], first)
        assert (one["prompt_len"], one["category"]) == (4, line["category"])
        assert one["greedy"] == (line["temperature"] == 0)
        assert one["held_out"] == held_out(line["id"])
    index = open_index(tmp_path / "features")
    assert index.top == options["top"]
    assert index.target == Source.of(target, target.name)
    stored = sum(shard.size for shard in index.shards)
    assert 0 <= stored - index.bytes_per_token * index.tokens < 1500 * len(index.shards)


def test_anchor_offsets_repeat_stay_in_range_and_are_checked(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "answers" / "answers.jsonl", [20] * 30)
    for out in ("one", "two"):
        options = {"anchor_offset": 0.5, "anchor_limit": 100, "top": 0}
        assert features(target, tmp_path, out=tmp_path / out, **options) == 0
    one, two = (sequences(tmp_path / out) for out in ("one", "two"))
    moved = {name: (s["anchor"], s["shift"]) for name, s in one.items()}
    assert moved == {name: (s["anchor"], s["shift"]) for name, s in two.items()}
    shifts = [shift for _, shift in moved.values() if shift]
    assert 5 < len(shifts) < 25
    assert max(shifts) + 20 < 100
    assert {anchor for anchor, _ in moved.values()} == {0, 1, 2, 3}
    assert "nats per token at plain positions" in capsys.readouterr().err


def test_the_targets_loss_is_that_of_transformers_at_plain_and_moved_positions(
    target: Path,
) -> None:
    line = list(range(5, 25))
    moved = Sequence("a", "code", array("i", line), 4, True, anchor=2, shift=60)
    loaded = Target.load(target, torch.device("cpu"), torch.float32, 512)
    found = {}
    for at_plain, shift in ((True, 0), (False, 60)):
        positions = [i + shift * (i >= 2) for i in range(len(line))]
        logits = plain(target, line, positions)["logits"][:-1]
        expected = functional.cross_entropy(logits, torch.tensor(line[1:]), reduction="sum")
        found[at_plain], count = loaded.loss(moved, at_plain)
        assert count == len(line) - 1
        assert found[at_plain] == pytest.approx(float(expected), abs=1e-3)
    assert abs(found[True] - found[False]) > 1e-2  # moving is seen at all


def test_a_warning_tells_when_moving_positions_hurts(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    write_answers(tmp_path / "answers" / "answers.jsonl", [20] * 4)
    monkeypatch.setattr(run, "_mean_loss", lambda _, __, plain: 1.0 if plain else 1.2)
    assert features(target, tmp_path, anchor_offset=1.0, top=0) == 0
    assert "warning: moving positions moves the loss by +20.0%" in capsys.readouterr().err


def test_long_sequences_are_cut_to_the_limit_and_counted(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers" / "answers.jsonl"
    lines = write_answers(path, [LIMIT + 30, 12])
    assert features(target, tmp_path, chunk=50, batch_tokens=64, top=2, head_from=9) == 0
    found = sequences(tmp_path / "features")
    assert len(found["a0"]["tokens"]) == LIMIT
    check(target, lines[0], found["a0"], 2, 0)
    assert "1 too long ones are cut, 0 without an answer left out" in capsys.readouterr().err


def test_a_second_run_makes_only_what_is_new_and_a_torn_line_waits(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers" / "answers.jsonl"
    write_answers(path, [10, 11, 12])
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert features(target, tmp_path, top=0) == 0
    assert sorted(sequences(tmp_path / "features")) == ["a0", "a1"]
    path.write_text(whole)
    assert features(target, tmp_path, top=0) == 0
    assert sorted(sequences(tmp_path / "features")) == ["a0", "a1", "a2"]
    assert "1 sequences (2 more are done), 12 tokens of" in capsys.readouterr().err


def test_it_goes_on_after_kill_9(tmp_path: Path) -> None:
    target = write_model(tmp_path / "target", "llama")
    lines = write_answers(tmp_path / "answers" / "answers.jsonl", [12] * 1200)
    command = [sys.executable, "-m", "proposers.train", "features", f"--data={tmp_path}"]
    slow = [f"--target={target}", "--batch-tokens=12", "--shard-tokens=60", "--threads=1"]
    process = subprocess.Popen([*command, *slow], cwd=Path(__file__).parents[3])
    folder = tmp_path / "features"
    deadline = time.time() + 60
    while process.poll() is None and len(list(folder.glob("shard-*.safetensors"))) < 3:
        assert time.time() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = sequences(folder)
    assert 0 < len(before) < len(lines)
    (folder / "shard-09999.safetensors").write_text("not in the index")
    assert features(target, tmp_path, batch_tokens=10_000, shard_tokens=10_000) == 0
    found = sequences(folder)
    assert sorted(found) == sorted(line["id"] for line in lines)
    assert found.keys() >= before.keys()
    assert not (folder / "shard-09999.safetensors").exists()
    for line in lines:
        assert found[line["id"]]["tokens"].tolist() == line["prompt_ids"] + line["answer_ids"]


def test_verify_finds_a_broken_shard_and_the_next_run_makes_it_again(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "answers" / "answers.jsonl", [10] * 12)
    assert features(target, tmp_path, shard_tokens=30) == 0
    folder = tmp_path / "features"
    before = sequences(folder)
    assert features(target, tmp_path, verify="true") == 0
    broken = folder / open_index(folder).shards[1].file
    content = bytearray(broken.read_bytes())
    content[-5] ^= 1
    broken.write_bytes(content)
    capsys.readouterr()
    assert features(target, tmp_path, verify="true") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "features: " in line]
    assert "shard-00001.safetensors is broken: 30 tokens" in said[0]
    assert said[1].startswith("features: error: 1 of 4 shards")
    assert len(sequences(folder)) == 9
    assert features(target, tmp_path) == 0
    assert sequences(folder).keys() == before.keys()


def test_the_size_is_announced_and_refused_where_it_does_not_fit(
    target: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_answers(tmp_path / "answers" / "answers.jsonl", [10] * 12)
    free = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    assert features(target, tmp_path, top=2) == 2
    size = bytes_per_token(2, 8, 32, 2)
    said = capsys.readouterr().err.splitlines()
    assert f"12 sequences (0 more are done), 120 tokens of {size} bytes = 0.00 GiB" in said[0]
    assert said[1].startswith("features: error: out=")
    assert len(said) == 2


def test_readers_and_writers_refuse_what_does_not_fit(target: Path, tmp_path: Path) -> None:
    source = Source.of(target, "tiny")
    with pytest.raises(ValueError, match=r"holds no index\.json"):
        open_index(tmp_path)
    (tmp_path / "shard-00000.safetensors").write_text("other")
    with pytest.raises(ValueError, match="shards of another format"):
        Writer(tmp_path, source, 100)
    (tmp_path / "shard-00000.safetensors").unlink()
    writer = Writer(tmp_path, source, 100)
    with pytest.raises(ValueError, match="being written by another process"):
        Writer(tmp_path, source, 100)
    with writer:
        pass
    with pytest.raises(ValueError, match="made with top=0"):
        Writer(tmp_path, source, 100, top=4)
    (tmp_path / "index.json").write_text('{"format": 3}')
    with pytest.raises(ValueError, match="format=3; allowed: 2"):
        open_index(tmp_path)


def test_a_shard_of_another_size_is_refused(target: Path, tmp_path: Path) -> None:
    write_answers(tmp_path / "answers" / "answers.jsonl", [10] * 3)
    assert features(target, tmp_path) == 0
    folder = tmp_path / "features"
    (shard,) = open_index(folder).shards
    (folder / shard.file).write_bytes(b"short")
    with pytest.raises(ValueError, match="holds 5 bytes, the index says"):
        load_shard(folder, shard)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"answers": "nowhere.jsonl"}, "run the answers command first"),
        ({"answers": "bad.jsonl"}, "bad.jsonl:2 is not valid JSON"),
        ({"answers": "other.jsonl"}, "other.jsonl:1 is no answer"),
        ({"answers": "far.jsonl"}, "has the token 60; the target's vocabulary has 60"),
        ({"top": 61}, "top=61; the target allows at most 60"),
        ({"max_len": 257}, "max_len=257; the target allows at most 256"),
        ({"top": -1}, "top=-1"),
        ({"device": "abacus"}, "device='abacus'"),
        ({"chunk": 0}, "chunk=0"),
        ({"target": "nowhere"}, "target=nowhere: config.json"),
        ({"target": "gpt2"}, "model_type='gpt2'; allowed: llama"),
        ({"anchor_offset": 1.5}, "anchor_offset=1.5"),
    ],
)
def test_bad_inputs_are_refused_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_llama: Path,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_answers(tmp_path / "answers" / "answers.jsonl", [10])
    good = (tmp_path / "answers" / "answers.jsonl").read_text()
    (tmp_path / "bad.jsonl").write_text(good + "{not json}\n")
    (tmp_path / "other.jsonl").write_text('{"id": "x"}\n')
    (tmp_path / "far.jsonl").write_text(good.replace('"answer_ids": [', '"answer_ids": [60, '))
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text('{"model_type": "gpt2"}')
    given = {"target": tiny_llama, **options}
    assert features(given.pop("target"), tmp_path, **given) == 2
    error = capsys.readouterr().err
    assert error.startswith("features: error: ")
    assert said in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "llama")
