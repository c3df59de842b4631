"""The trainer of EAGLE-3 heads: it computes what drafting does, learns, goes on, and writes."""

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from proposers.train.features.shards import Source, bytes_per_token
from proposers.train.features.writer import Features, Writer
from recipes.train import eagle3
from recipes.train.eagle3 import Eagle3Trainer
from recipes.train.eagle3_batch import Batch, pack
from recipes.train.eagle3_head import Eagle3Head, turned

from .tiny import SIZES, write_target
from .training import trainer as glide_trainer

DEPTH = 3


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """A target, a GLIDE draft, and ten sequences whose next tokens are told by their states."""
    target = write_target(tmp_path / "target")
    glide = glide_trainer(tmp_path / "glide")
    glide.export()
    generator = torch.Generator().manual_seed(0)
    source = Source.of(target, "tiny")
    with Writer(tmp_path / "features", source, bytes_per_token(2, 4, 64, 0)) as writer:
        for i in range(10):
            count = 24 + i
            rows = {name: torch.zeros(count, 2, 4) for name in ("keys", "values")}
            rows["hidden"] = torch.randn(count, 16, generator=generator)
            rows["states"] = rows["hidden"].roll(-1, 0).repeat(1, 3)
            tokens = torch.randint(0, 50, (count,), generator=generator).tolist()
            writer.add(Features(str(i), "chat", tokens, 8, greedy=True, rows=rows))
    given = {"features": tmp_path / "features", "draft": tmp_path / "glide" / "draft"}
    given |= {"target": target, "out": tmp_path / "head", "learning_rate": 0.01}
    return argparse.Namespace(**given, minutes=0.2, piece=0.05, depth=DEPTH, batch_tokens=80)


def drafted(trainer: Eagle3Trainer, batch: Batch, row: int) -> list[torch.Tensor]:
    """What the head says from one position on, step after step, over a cache of its own."""
    head, layer = trainer.copy, trainer.copy.midlayer
    seen = slice(0, row + 1)
    hidden = head.fuse(batch.states[seen])
    positions = torch.arange(row + 1)
    tokens, keys, values, out = batch.following[seen], [], [], []
    for step in range(DEPTH):
        tables = trainer.rotary.tables(positions, hidden.dtype)
        x = layer.read(F.embedding(tokens, trainer.embedding.to(hidden.dtype)), hidden)
        key, value = layer.pairs(x, tables)
        keys.append(key)
        values.append(value)

        def attend(query: torch.Tensor) -> torch.Tensor:
            k, v = (torch.cat(parts).repeat_interleave(2, 1) for parts in (keys, values))
            scores = torch.einsum("hd,chd->hc", query[0], k) * k.shape[-1] ** -0.5
            return torch.einsum("hc,chd->hd", scores.softmax(-1), v)[None]

        last = (tables[0][-1:], tables[1][-1:])
        hidden = layer(x[-1:], hidden[-1:], last, attend)
        out.append(head.norm(hidden)[0])
        positions = torch.tensor([row + 1 + step])
        tokens = batch.following[row + 1 + step][None]
    return out


def test_training_computes_what_drafting_does(options: argparse.Namespace) -> None:
    trainer = Eagle3Trainer(options)
    trainer.copy.float()
    trainer.embedding = trainer.embedding.float()
    pieces = eagle3.cut(trainer.data.train[:2], 99)
    batch = pack(trainer.data, pieces, DEPTH)
    batch = Batch(**{**vars(batch), "states": batch.states.float()})
    found = [out for out, _ in trainer.steps(batch, DEPTH)]
    alone = pack(trainer.data, pieces[1:], DEPTH)  # the second piece: nothing of the first is seen
    alone = Batch(**{**vars(alone), "states": alone.states.float()})
    first = batch.sizes[0][0]
    for at, row in enumerate(alone.rows.tolist()):
        expected = drafted(trainer, alone, row)
        for step in range(DEPTH):
            torch.testing.assert_close(found[step][first + at], expected[step])


def test_the_goal_is_the_state_that_says_the_drafted_token(options: argparse.Namespace) -> None:
    trainer = Eagle3Trainer(options)
    sequence = trainer.data.train[0]
    batch = pack(trainer.data, eagle3.cut([sequence], 99), DEPTH)
    whole = trainer.data.rows(sequence)
    for step, (_, goal) in enumerate(trainer.steps(batch, DEPTH)):
        # from position i, step s says token i + 2 + s, which the state at i + 1 + s predicts
        assert torch.equal(goal, whole["hidden"][batch.rows + 1 + step])
        assert torch.equal(
            batch.following[batch.rows + 1 + step], whole["tokens"][batch.rows + 2 + step].long()
        )
    assert int(batch.rows[-1]) + 1 + DEPTH <= len(whole["tokens"]) - 1  # the last row is not read


def test_it_learns_goes_on_and_writes_what_vllm_reads(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Eagle3Trainer(options)
    groups = eagle3.epoch(trainer.data.train, 80, 0)
    losses = [trainer._step(group)[0] for _ in range(12) for group in groups]
    assert losses[-1] < 0.9 * losses[0]

    eagle3.run(options)  # a piece of the whole
    state = torch.load(options.out / "state.pt", weights_only=True)
    assert 0 < state["done"]["seconds"] < 60 * options.minutes
    again = Eagle3Trainer(options)
    assert again.done == state["done"]
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, state["model"][name])

    tensors = load_file(options.out / "model.safetensors")
    vocabulary = tensors["d2t"] + torch.arange(30)
    assert torch.equal(tensors["t2d"].nonzero()[:, 0], vocabulary)
    assert tensors["lm_head.weight"].shape == (30, 16)
    assert tensors["midlayer.self_attn.q_proj.weight"].shape == (16, 32)
    config = json.loads((options.out / "config.json").read_text())
    assert (config["draft_vocab_size"], config["vocab_size"]) == (30, 50)
    assert config["num_hidden_layers"] == 1
    assert "guesses right" in capsys.readouterr().out


def test_sizes_and_rotation_are_the_targets() -> None:
    shape = Eagle3Head(SIZES).midlayer
    assert (shape.heads, shape.kv_heads, shape.head_dim) == (4, 2, 4)
    tables = (torch.zeros(3, 4), torch.ones(3, 4))  # a quarter of a turn
    x = torch.randn(3, 2, 4)
    assert torch.equal(turned(x, tables), torch.cat([-x[..., 2:], x[..., :2]], -1))
