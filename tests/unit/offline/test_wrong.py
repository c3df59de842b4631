"""Targets and drafts that cannot be right: one line each, which names the file or the value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from proposers import load_glide_model

from .test_files import write
from .tiny import tiny_draft, tiny_target

Change = Callable[[Path, Path], object]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    tiny_draft(folder / "draft", tiny_target(folder / "target"))
    return folder


def edited(path: Path, keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def target(**keys: Any) -> Change:
    return lambda target, _: edited(target / "config.json", keys)


def turning(**keys: Any) -> Change:
    return target(rope_parameters={"rope_theta": 1e4, **keys})


def draft(**keys: Any) -> Change:
    return lambda _, draft: edited(draft / "config.json", keys)


def drafted_for(rope: Any) -> Change:
    def change(_: Path, draft: Path) -> None:
        sizes = json.loads((draft / "config.json").read_text())["target"]
        edited(draft / "config.json", {"target": {**sizes, "rope": rope}})

    return change


def text(of: str) -> Change:
    return lambda target, _: (target / "config.json").write_text(of)


def in_shards(form: str, broken: str, length: int | None) -> Change:
    """A draft in two shards, one of them gone or cut."""

    def change(_: Path, draft: Path) -> None:
        state = load_file(draft / "model.safetensors")
        (draft / "model.safetensors").unlink()
        write(draft, state, form)
        path = draft / broken
        content = path.read_bytes()
        path.unlink()
        if length is not None:
            path.write_bytes(content[:length])

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "more layers": (target(num_hidden_layers=5), "layers.3.self_attn.q_proj.weight .* is missing;"),
    "fewer layers": (target(num_hidden_layers=2), "layers.2.input_layernorm.weight is unknown"),
    "hidden size": (target(hidden_size=64), "with hidden_size=48, this one has 64"),
    "KV heads": (target(num_key_value_heads=4), "with num_key_value_heads=2, this one has 4"),
    "no heads": (target(num_attention_heads=0), "target: config.json: "),
    "vocabulary": (target(vocab_size="many"), "target: config.json: .*vocab_size"),
    "positions": (target(max_position_embeddings=None), "config.json: .*max_position_embeddings"),
    "a list": (text("[]"), "target: config.json: "),
    "empty": (text(""), "target: config.json: "),
    "no type": (text("{}"), "target: config.json: "),
    "theta of 0": (target(rope_parameters={"rope_theta": 0}), "config.json: rope theta=0: "),
    "theta in words": (turning(rope_theta="big"), "target: config.json: rope theta='big'"),
    "a factor below 0": (
        turning(rope_type="linear", factor=-2),
        "target: config.json: rope factor=-2: Input should be greater than 0",
    ),
    "too few factors": (
        turning(rope_type="longrope", short_factor=[1], long_factor=[1] * 6),
        "config.json: rope short_factor has 1 entries; a head of 12 needs 6",
    ),
    "another embedding": (turning(rope_type="proportional"), "config.json: rope_type='proportio"),
    "a draft's kind": (drafted_for({"type": "foo"}), "target.rope.type='foo': Input should be"),
    "a draft's embedding": (drafted_for("x"), "config.json: target.rope='x'"),
    "a draft's factor": (drafted_for({"factor": 0}), "config.json: target.rope.factor=0: "),
    "a draft's theta": (drafted_for({"theta": 5.0}), "with rope_theta=5.0, this one has 10000.0"),
    "a draft's window": (draft(window=0), "config.json: window=0: "),
    "a draft's shard": (
        in_shards("sharded safetensors", "model-00001-of-00002.safetensors", None),
        "names model-00001-of-00002.safetensors, which is not there",
    ),
    "a draft's cut shard": (
        in_shards("sharded bin", "pytorch_model-00001-of-00002.bin", 100),
        "pytorch_model-00001-of-00002.bin cannot be read, perhaps it is cut",
    ),
    "a draft's index": (
        in_shards("sharded bin", "pytorch_model.bin.index.json", 10),
        "pytorch_model.bin.index.json is no index of weights",
    ),
    "the target as the draft": (
        lambda target, draft: [shutil.rmtree(draft), shutil.copytree(target, draft)],
        "draft: tensor self_attn.q_proj.weight .* is missing; .*; and 43 more",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_line(pair: Path, tmp_path: Path, what: str) -> None:
    change, message = WRONG[what]
    shutil.copytree(pair, tmp_path / "pair")
    paths = (tmp_path / "pair" / "target", tmp_path / "pair" / "draft")
    change(*paths)
    with pytest.raises(ValueError, match=message) as caught:
        load_glide_model(*paths, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_device_that_is_not_known(pair: Path) -> None:
    with pytest.raises(ValueError, match="device='gpu' is unknown; give cpu, cuda or cuda:N"):
        load_glide_model(pair / "target", pair / "draft", "gpu")
