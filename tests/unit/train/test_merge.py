"""Feature folders that were made side by side become one, in which no prompt comes twice."""

import json
from pathlib import Path

import pytest
import torch

from proposers.train.features.shards import Source, is_whole, load_shard, open_index
from proposers.train.features.writer import Features, Writer
from recipes.train import merge

from .answering import BOT, EOS, USER, words, write_target

ANSWER = 5


def write(folder: Path, *prompts: list[int], category: str = "code", shard: int = 10**9) -> Path:
    with Writer(folder, Source(name="tiny", config_sha256="x"), 8, shard_tokens=shard) as writer:
        for i, prompt in enumerate(prompts):
            tokens = [USER, *prompt, EOS, BOT, *words(i, ANSWER)]
            rows = {"hidden": torch.randn(len(tokens), 4)}
            name = f"{folder.name}-{i}"
            about = (category, tokens, len(prompt) + 3, i % 2 == 0, rows, i, 2 * i)
            writer.add(Features(name, *about))
    return folder


def ids(folder: Path) -> list[str]:
    return [name for shard in open_index(folder).shards for name in shard.ids]


def run(target: Path, out: Path, *folders: Path, held_out: str = "") -> int:
    line = ["--target", target, "--out", out, *folders, "--held-out", *held_out.split()]
    return merge.main([str(part) for part in line])


def test_new_shards_are_linked_and_copies_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = write_target(tmp_path / "target")
    a = write(tmp_path / "a", words(1, 12), words(2, 12))
    b = write(tmp_path / "b", words(3, 12), words(2, 12), words(4, 12))
    out = tmp_path / "out"
    assert run(target, out, a, b) == 0
    assert "left out: {'copies': 1}" in capsys.readouterr().out
    assert ids(out) == ["a-0", "a-1", "b-0", "b-2"]
    index = open_index(out)
    assert all(is_whole(out, shard) for shard in index.shards)
    linked, written = (out / shard.file for shard in index.shards)
    assert linked.samefile(a / "shard-00000.safetensors")
    before, after = load_shard(b, open_index(b).shards[0]), load_shard(out, index.shards[1])
    assert written.stat().st_nlink == 1
    kept = torch.cat([before["hidden"][: 12 + 3 + ANSWER], before["hidden"][-12 - 3 - ANSWER :]])
    assert torch.equal(after["hidden"], kept)
    for name in ("prompt_len", "greedy", "anchor", "shift", "held_out"):
        assert torch.equal(after[name], before[name][[0, 2]]), name


@pytest.mark.parametrize("own", ["magpie", "self"])
def test_shards_in_between_stay_and_near_copies_of_own_prompts_go(tmp_path: Path, own: str) -> None:
    target = write_target(tmp_path / "target")
    near = [*words(1, 20)[:18], *words(2, 2)]
    a = write(tmp_path / "a", words(1, 20), words(2, 20), category=own, shard=1)
    b = write(tmp_path / "b", near, words(5, 20), words(6, 20), category=own, shard=1)
    assert run(target, tmp_path / "out", a, b) == 0
    assert ids(tmp_path / "out") == ["a-0", "a-1", "b-1", "b-2"]
    composed = write(tmp_path / "c", near)  # templates share their words on purpose
    assert run(target, tmp_path / "out2", a, composed) == 0
    assert ids(tmp_path / "out2") == ["a-0", "a-1", "c-0"]


def test_held_out_prompts_stay_out(tmp_path: Path) -> None:
    target = write_target(tmp_path / "target")
    a = write(tmp_path / "a", words(1, 12), words(2, 12))
    prompt = " ".join(f"w{token - 4}" for token in words(2, 12))
    (tmp_path / "held.jsonl").write_text(json.dumps({"prompt": prompt}) + "\n")
    assert run(target, tmp_path / "out", a, held_out=str(tmp_path / "held.jsonl")) == 0
    assert ids(tmp_path / "out") == ["a-0"]


def test_mistakes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = write_target(tmp_path / "target")
    a = write(tmp_path / "a", words(1, 12))
    assert run(target, a, a) == 2
    assert "is there already" in capsys.readouterr().err
    other = tmp_path / "other"
    with Writer(other, Source(name="large", config_sha256="y"), 8) as writer:
        writer.add(Features("o", "code", [1, 2], 1, True, {"hidden": torch.zeros(2, 4)}))
    assert run(target, tmp_path / "out", a, other) == 2
    assert "merge folders of one kind" in capsys.readouterr().err
    assert run(target, tmp_path / "out", tmp_path / "none") == 2
    assert "holds no index.json" in capsys.readouterr().err
