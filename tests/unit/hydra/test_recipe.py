"""The script that makes real heads, on a tiny target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from proposers.hydra import PoE, load_hydra
from recipes.hydra.data import Answer, Batch, split
from recipes.hydra.heads import main
from recipes.hydra.training import stream_mask, streams

from .tiny import PROMPT, tiny_hydra, tiny_target

OPTIONS = {
    "heads": 3,
    "depth": 1,
    "length": 24,
    "steps": 3,
    "draft-steps": 3,
    "batch-size": 2,
    "learning-rate": 0.01,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a target, answers, and heads made of them."""
    folder = tmp_path_factory.mktemp("made")
    tiny_target().float().save_pretrained(folder / "target")
    generator = torch.Generator().manual_seed(0)
    with (folder / "answers.jsonl").open("w") as file:
        for i in range(40):
            ids = torch.randint(12, (30,), generator=generator).tolist()
            row = {"prompt_ids": ids[:6], "answer_ids": ids[6:], "category": f"kind {i % 3}"}
            print(json.dumps(row), file=file)
    assert run(folder) == 0
    return folder


def run(folder: Path, **changes: Any) -> int:
    options = {**OPTIONS, "answers": folder / "answers.jsonl", "target": folder / "target"}
    options |= {"output-dir": folder / "heads", **changes}
    return main([str(part) for name, value in options.items() for part in (f"--{name}", value)])


def test_only_the_heads_layers_are_written_and_they_load(made: Path) -> None:
    tensors = load_file(made / "heads" / "head-1.safetensors")
    assert {name.rpartition(".layers.2.")[0] for name in tensors} == {"model"}
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    model = LlamaForCausalLM.from_pretrained(made / "target")
    hydra = load_hydra(model, made / "heads")
    name = "model.layers.2.mlp.up_proj.weight"
    first = [head[0].mlp.up_proj.weight for head in hydra.heads]
    assert torch.equal(first[1], tensors[name].float())
    assert not torch.equal(first[1], first[2])
    assert hydra.bridge is not None
    out = PoE(hydra, trunk="verified", rule="bonus", max_new_tokens=9).generate(PROMPT)
    assert len(out.tokens) == 9


def test_index_tells_what_was_learnt(made: Path) -> None:
    index = json.loads((made / "heads" / "index.json").read_text())
    draft, first, second = index["heads"]
    assert len(draft["after"]["loss"]) == 3
    assert len(first["after"]["loss"]) == 1
    assert not first["categories"].keys() & second["categories"].keys()
    assert draft["categories"].keys() == first["categories"].keys() | second["categories"].keys()


def test_a_stopped_run_goes_on(made: Path) -> None:
    heads = made / "heads"
    before = {path.name: path.stat().st_mtime_ns for path in heads.glob("*.safetensors")}
    kept = (heads / "head-2.safetensors").read_bytes()
    (heads / "head-2.safetensors").unlink()
    (heads / "index.json").unlink()
    assert run(made) == 0
    assert (heads / "head-2.safetensors").read_bytes() == kept
    after = {path.name: path.stat().st_mtime_ns for path in heads.glob("*.safetensors")}
    assert {name for name in after if after[name] != before[name]} == {"head-2.safetensors"}


def test_mistakes_are_one_line(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = made / "bad.jsonl"
    bad.write_text("{}\n")
    for changes, line in (
        ({"steps": 4}, "was made with steps=3, not 4"),
        ({"steps": 0}, "--steps 0: expected 1 or more"),
        ({"heads": 1}, "n_heads=1"),
        ({"depth": 3, "output-dir": made / "deep"}, "heads_depth=3: the target has 3 layers"),
        ({"answers": bad}, "bad.jsonl:1: no answer"),
        ({"answers": made / "none"}, "none is no file"),
    ):
        capsys.readouterr()
        assert run(made, **changes) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert line in lines[0]


def test_streams_are_what_drafting_without_the_trunk_reads() -> None:
    """Row i of stream s: true states up to i - s, then s guesses, each from the output before."""
    hydra, length, depth = tiny_hydra(2), 7, 2
    tokens = torch.randint(12, (1, length), generator=torch.Generator().manual_seed(1))
    hidden = hydra.trunk_forward(tokens)
    one = Batch(hidden, tokens, torch.ones_like(tokens, dtype=torch.bool))
    outs = streams(hydra, 0, one, depth)
    hydra.init_kv_cache(1, length)
    for verified in range(1, length - depth + 1):
        hydra.reset_kv_cache()
        state = hydra.head_states(0, hidden[:, :verified])[:, -1:]
        for s in range(depth + 1):
            torch.testing.assert_close(outs[s][:, verified + s - 1], state[:, 0])
            if s < depth:
                at = verified + s
                state = hydra.head_states(0, hydra.guess(state, tokens[:, at : at + 1]))
    assert stream_mask(3, 1).sum(1).tolist() == [1, 2, 3, 1, 2, 3]


def test_few_categories_are_split_by_answers() -> None:
    answers = [Answer((i, 0), 1, "all") for i in range(6)]
    parts = split(answers, 4)
    assert [len(part) for part in parts] == [6, 2, 2, 2]
    assert len({answer for part in parts[1:] for answer in part}) == 6
