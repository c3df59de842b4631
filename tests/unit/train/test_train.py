"""A whole run on a tiny target: it learns, exports, and its draft computes what serving does."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.glide.checkpoint import VOCABULARY, load_glide
from proposers.glide.layer import rotate
from proposers.rotary import rotary_tables
from proposers.train.__main__ import main
from proposers.train.trainer.attention import attend
from proposers.train.trainer.batches import Batch, Piece, pack
from proposers.train.trainer.data import Sequence
from proposers.train.trainer.run import train
from proposers.train.trainer.trainer import Trainer

from .training import settings, trainer


def one_batch(run: Trainer) -> Batch:
    """Two pieces, the first of which begins in the midst of its sequence."""
    first, second = run.data.train[:2]
    pieces = [Piece(first, 14, 19), Piece(second, 7, 12)]
    return pack(run.data, pieces, run.model.reach)


def randomise(run: Trainer) -> None:
    torch.manual_seed(5)
    for p in run.copy.parameters():
        p.data += 0.1 * torch.randn_like(p)


def served(run: Trainer, sequence: Sequence, at: int, lag: int) -> Tensor:
    """The head's input ``[H]`` as a server would compute it, from whole sequences."""
    rows, model, target = run.data.rows(sequence), run.model, run.config.target
    x = F.embedding(rows["tokens"].long(), model.embedding)[None]
    places = sequence.places(0, x.shape[1])
    tables = rotary_tables(target.rope, places, target.head_dim, x.dtype)
    blocks = [t.chunk(run.config.num_layers, dim=-2) for t in run.copy.self_kv(x, *tables)]
    own = slice(max(0, at - run.config.window), at + 1)
    known = slice(0, at - lag + 1)
    y = run.copy(
        x[:, at : at + 1],
        run.copy.fuse(x[:, at : at + 1], rows["hidden"][None, at - lag : at - lag + 1].to(x.dtype)),
        *(table[None, at : at + 1] for table in tables),
        lambda q, _k, _v, block: attend(q, *(t[block][:, own] for t in blocks), ones(own)),
        lambda q: attend(q, *(rows[n][None, known] for n in ("keys", "values")), ones(known)),
    )
    if run.config.final_norm:
        y = F.rms_norm(y, y.shape[-1:], model.final_norm, target.rms_norm_eps)
    return y[0, 0]


def ones(span: slice) -> Tensor:
    return torch.ones(1, 1, span.stop - span.start, dtype=torch.bool)


@pytest.mark.parametrize(
    "options",
    [{}, {"layers": 2}, {"final_norm": False, "hidden_state_input": False}, {"draft_vocab": 0}],
    ids=str,
)
def test_training_and_serving_compute_the_same_rows(
    tmp_path: Path, options: dict[str, object]
) -> None:
    run = trainer(tmp_path, torch.float32, **options)
    randomise(run)
    drawn = torch.tensor([1, 2, 3, 4, 5, 1, 1, 5, 2, 2])
    with torch.no_grad():
        rows = run.model.rows(one_batch(run), drawn)
        for row, at in zip((0, 4, 5, 7), (14, 18, 7, 9), strict=True):
            sequence = run.data.train[row // 5]
            expected = served(run, sequence, at, int(drawn[row]))
            torch.testing.assert_close(rows[row], expected, rtol=1e-4, atol=1e-4)


def test_a_lagging_query_reads_nothing_newer(tmp_path: Path) -> None:
    run = trainer(tmp_path, torch.float32)
    randomise(run)
    batch = one_batch(run)
    lags = torch.full_like(batch.positions, 3)
    with torch.no_grad():
        before = run.model.rows(batch, lags)
        batch.keys[15:19], batch.values[15:19] = 7.0, 7.0  # position 15 and later
        batch.hidden[batch.token_positions >= 15] = 7.0
        after = run.model.rows(batch, lags)
    torch.testing.assert_close(after[:4], before[:4])  # positions 14 to 17 know up to 14
    assert not torch.allclose(after[4], before[4])


def test_moving_all_positions_changes_nothing_but_past_anchors_does(tmp_path: Path) -> None:
    run = trainer(tmp_path, torch.float32)
    randomise(run)
    target, s = run.config.target, run.data.train[1]
    rows, lags = {}, torch.tensor([1, 2, 3, 4, 5])
    for anchor, shift in ((0, 0), (0, 37), (4, 37)):
        moved = Sequence(**{**vars(s), "anchor": anchor, "shift": shift})
        batch = pack(run.data, [Piece(moved, 7, 12)], run.model.reach)
        by = moved.places(0, 12) - torch.arange(12)
        tables = rotary_tables(target.rope, by, target.head_dim, torch.float32)
        batch.keys.copy_(rotate(batch.keys.float(), *tables))
        with torch.no_grad():
            rows[anchor, shift] = run.model.rows(batch, lags)
    torch.testing.assert_close(rows[0, 37], rows[0, 0], rtol=0.05, atol=0.05)
    assert (rows[4, 37] - rows[0, 0]).abs().mean() > 3 * (rows[0, 37] - rows[0, 0]).abs().mean()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 5, "weighting": "tree"},
        {"weighting": "reach", "optimizer": "adamw"},
        {"layers": 2, "weighting": "mistakes"},
    ],
    ids=str,
)
def test_the_loss_falls(tmp_path: Path, options: dict[str, object]) -> None:
    run = trainer(tmp_path, epochs=1000.0, warmup=0.0, learning_rate=5e-3, **options)
    groups = next(run.steps())
    losses = [run.step(groups)[0] for _ in range(25)]
    assert losses[-1] < losses[0]


def test_a_run_exports_a_draft_and_is_finished_when_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--target", str(tmp_path / "target"), "--data", str(tmp_path), "--epochs", "0.5"]
    options += ["--draft-vocab", "30", "--batch-tokens", "100"]
    settings(tmp_path)
    assert main(["train", *options]) == 0
    assert "top1_lag5" in capsys.readouterr().out
    config, state = load_glide(tmp_path / "draft")
    assert config.draft_vocab_size == 30
    assert state[VOCABULARY].tolist() == sorted(set(state[VOCABULARY].tolist()))
    assert len((tmp_path / "state" / "curves.csv").read_text().splitlines()) == 2
    told = json.loads((tmp_path / "draft" / "training.json").read_text())
    assert (told["epochs"], told["draft_vocab"]) == (0.5, 30)
    assert not {"target", "data"} & set(told)
    before = (tmp_path / "draft" / "model.safetensors").stat().st_mtime_ns
    assert main(["train", *options]) == 0
    assert "goes on after step" in capsys.readouterr().err
    assert (tmp_path / "draft" / "model.safetensors").stat().st_mtime_ns == before


def test_the_clock_ends_a_run(tmp_path: Path) -> None:
    run = trainer(tmp_path, minutes=0.01)
    train(run)
    assert run.progress == 1
    assert run.done.seconds >= 0.6
    assert run.done.steps > 0


def test_other_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"top_k=6: .* hold 5 logits"):
        trainer(tmp_path, top_k=6)
    options = settings(tmp_path)
    path = tmp_path / "target" / "config.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(ValueError, match="were made of tiny") as caught:
        Trainer(options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("hard", 2.0), ("minutes", -1), ("layers", 3), ("schedule", "step"), ("learning_rat", 1)],
)
def test_wrong_settings_are_refused_in_one_line(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key) as caught:
        settings(tmp_path, **{key: value})
    assert "\n" not in str(caught.value)


def test_reach_needs_weights_that_do_not_rise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights that do not rise"):
        settings(tmp_path, weighting="reach", lag_weights=[0.1, 0.9])


def test_the_command_line_names_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--minutes", "1"]) == 2
    assert capsys.readouterr().err.startswith("train: error: target is missing")


def test_what_is_served_by_default_is_an_option_and_goes_into_the_draft(tmp_path: Path) -> None:
    serve = {"proposer": "glide", "tree_shape": [2, 2], "nodes": 3}
    Trainer(settings(tmp_path, serve=serve)).export()
    assert load_glide(tmp_path / "draft")[0].longspec_config == serve


@pytest.mark.parametrize("serve", [{"proposer": "glid"}, {"tree_shape": [0]}])
def test_a_proposer_or_tree_that_nobody_serves_is_refused(
    tmp_path: Path, serve: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match=next(iter(serve))) as caught:
        settings(tmp_path, serve=serve)
    assert "\n" not in str(caught.value)
