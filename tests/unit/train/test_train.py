"""A whole run on a tiny target: it learns, exports, resumes, and its draft serves."""

import random
from pathlib import Path

import pytest
import torch

from proposers.glide.checkpoint import load_glide
from proposers.glide.layer import rotary_tables
from proposers.train import step
from proposers.train.__main__ import main
from proposers.train.data import Batch
from proposers.train.run import Trainer
from proposers.train.settings import TrainSettings
from proposers.train.simulate import acceptance_length
from proposers.train.step import attend, states
from proposers.train.target import TargetWeights

from .tiny import write_shard, write_target


def settings(folder: Path, **more: object) -> TrainSettings:
    for number in range(2):
        write_shard(folder / "features", number)
    write_target(folder / "target")
    values = {
        "target": folder / "target",
        "features": folder / "features",
        "out": folder / "draft",
        "state": folder / "state",
        "draft_vocab": 30,
        "batch_tokens": 200,
        "minutes": 0.02,
    }
    return TrainSettings.read(None, {**values, **more})


@torch.no_grad()
def rows_of(
    trainer: Trainer, batch: Batch, lags: torch.Tensor, shift: torch.Tensor | None = None
) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return trainer.model.rows(batch, lags, shift)


def test_a_run_exports_a_draft_and_is_finished_when_started_again(tmp_path: Path) -> None:
    options = settings(tmp_path)
    Trainer(options).train()
    config, state = load_glide(tmp_path / "draft")
    assert config.draft_vocab_size == 30
    assert state["draft_vocab"].tolist() == sorted(set(state["draft_vocab"].tolist()))
    again = Trainer(options)
    assert again.progress == 1.0
    assert again.steps > 0
    assert (tmp_path / "state" / "curves.csv").exists()


def test_the_loss_falls(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path, minutes=100.0, warmup=0.0, learning_rate=3e-3))
    batch = next(trainer.data.epoch(200, random.Random(0)))
    losses = [trainer._step(batch) for _ in range(30)]
    assert losses[-1] < losses[0]


def test_a_lagging_query_reads_nothing_newer(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path))
    torch.nn.init.normal_(trainer.layer.hidden_proj.weight, std=0.1)
    batch = next(trainer.data.epoch(200, random.Random(0)))
    lags = torch.full_like(batch.positions, 3)
    before = rows_of(trainer, batch, lags)
    at = int(batch.positions[0, 5])
    for rows in (batch.keys, batch.values, batch.hidden):
        rows[0, at - 2 :] = 7.0
    after = rows_of(trainer, batch, lags)
    torch.testing.assert_close(after[0, :6], before[0, :6])
    batch.hidden[0, at - 3] = 9.0
    assert not torch.allclose(rows_of(trainer, batch, lags)[0, 5], before[0, 5])


def test_training_and_serving_compute_the_same_row(tmp_path: Path) -> None:
    trainer = Trainer(settings(tmp_path))
    torch.nn.init.normal_(trainer.layer.hidden_proj.weight, std=0.1)
    batch = next(trainer.data.epoch(200, random.Random(0)))
    lags = torch.ones_like(batch.positions)
    expected = rows_of(trainer, batch, lags)[0, 0]
    at = int(batch.positions[0, 0])
    layer, target = trainer.layer, trainer.config.target
    x = trainer.model.embedding[batch.tokens[:1].long()].float()
    tables = rotary_tables(target.rope, torch.arange(x.shape[1]), target.head_dim, x.dtype)
    keys, values = layer.self_kv(x, *tables)
    here = torch.tensor([[at]])
    everything = torch.ones(1, 1, 1, dtype=torch.bool)
    row = states(x, here)
    y = layer(
        row,
        layer.fuse(row, batch.hidden[:1, at - 1 : at].float()),
        *(table[here] for table in tables),
        lambda q, *_: attend(q, keys[:, : at + 1], values[:, : at + 1], everything),
        lambda q: attend(q, batch.keys[:1, :at], batch.values[:1, :at], everything),
    )
    eps = target.rms_norm_eps
    y = torch.nn.functional.rms_norm(y, y.shape[-1:], trainer.model.final_norm, eps)
    torch.testing.assert_close(y[0, 0], expected, rtol=2e-2, atol=2e-2)


def test_simulated_al_counts_as_greedy_serving_would(tmp_path: Path) -> None:
    options = settings(tmp_path)
    Trainer(options).train()
    data = Trainer(options).data
    weights = TargetWeights(options.target)
    value = acceptance_length(options.out, weights, data, data.train[:6], [2, 2])
    assert 1.0 <= value <= 3.0


@pytest.mark.parametrize(("key", "value"), [("hard", 2.0), ("minutes", -1), ("learning_rat", 1)])
def test_wrong_settings_are_refused_in_one_line(tmp_path: Path, key: str, value: float) -> None:
    with pytest.raises(ValueError, match=key) as caught:
        settings(tmp_path, **{key: value})
    assert "\n" not in str(caught.value)


def test_the_command_line_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "1"]) == 2
    assert capsys.readouterr().err.startswith("train: target: Field required")


def test_moving_all_tokens_together_changes_nothing_but_past_anchors_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(settings(tmp_path, anchor_offset=50))
    batch = next(trainer.data.epoch(200, random.Random(0)))
    lags = torch.ones_like(batch.positions)
    shift = torch.full((len(lags), 1), 37)
    plain, anchored = rows_of(trainer, batch, lags), rows_of(trainer, batch, lags, shift)
    monkeypatch.setattr(step, "ANCHORS", 0)
    together = rows_of(trainer, batch, lags, shift)
    assert (anchored - plain).abs().mean() > 3 * (together - plain).abs().mean()
