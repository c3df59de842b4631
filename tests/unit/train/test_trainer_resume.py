"""Stopped by kill -9 or Ctrl-C, a run goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from proposers.train.__main__ import main
from proposers.train.evaluate.report import read_curves
from proposers.train.lock import locked
from proposers.train.trainer.run import train
from proposers.train.trainer.trainer import Trainer

from .tiny import write_shard
from .training import settings, trainer, weights

ROOT = Path(__file__).parents[3]


def options(folder: Path, data: Path) -> list[str]:
    """One and a half epochs in six steps, with a test after each."""
    chosen = {
        "target": folder / "target",
        "features": folder / "features",
        "data": data,
        "epochs": 1.5,
        "draft-vocab": 30,
        "batch-tokens": 120,
        "save-minutes": 0,
        "held-out": 1,
    }
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    settings(tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "proposers.train", "train", *options(tmp_path, killed)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not (killed / "state" / "state.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert main(["train", *options(tmp_path, whole)]) == 0
    assert steps(killed) < steps(whole)
    assert main(["train", *options(tmp_path, killed)]) == 0
    assert torch.equal(weights(killed), weights(whole))


def steps(folder: Path) -> int:
    state = torch.load(folder / "state" / "state.pt", weights_only=True)
    return int(state["progress"]["steps"])


def test_ctrl_c_saves_when_the_step_is_done(tmp_path: Path) -> None:
    run = trainer(tmp_path, epochs=1.0)
    inner = run.step

    def step(*given: object) -> tuple[float, bool]:
        if run.done.steps == 2:
            signal.raise_signal(signal.SIGINT)
        return inner(*given)  # type: ignore[arg-type]

    run.step = step  # type: ignore[method-assign,assignment]
    with pytest.raises(KeyboardInterrupt):
        train(run)
    again = Trainer(run.settings)
    assert again.done.steps == run.done.steps > 0
    assert again.done.groups == run.done.groups
    train(again)
    stopped = weights(tmp_path)
    straight = trainer(tmp_path, epochs=1.0, state=tmp_path / "other" / "state")
    train(straight)
    assert torch.equal(stopped, weights(tmp_path / "other"))


def test_shards_that_come_join_the_next_epoch_and_the_vocabulary_stays(tmp_path: Path) -> None:
    run = trainer(tmp_path, epochs=1.0)
    first = next(run.steps())
    write_shard(tmp_path / "features", 2, top=5)
    run.step(first)
    run.save()
    again = Trainer(run.settings.model_copy(update={"epochs": 3.0}))
    assert again.vocabulary is not None
    assert run.vocabulary is not None
    assert torch.equal(again.vocabulary, run.vocabulary)
    steps = again.steps()
    next(steps)
    assert (again.done.shards, again.done.of) == (2, run.done.of)
    for groups in steps:
        again.step(groups)
        if again.done.epoch:
            break
    assert again.done.shards == 3


@pytest.mark.parametrize(
    ("name", "value", "had"),
    [("layers", 2, "1"), ("batch_tokens", 50, "100"), ("seed", 2, "1"), ("prompt_tail", 3, "16")],
)
def test_another_shape_or_another_cut_of_the_data_cannot_go_on(
    tmp_path: Path, name: str, value: int, had: str
) -> None:
    run = trainer(tmp_path)
    run.step(next(run.steps()))
    run.save()
    told = f"{name}={value}: the run in .* has {name}={had}; keep that"
    with pytest.raises(ValueError, match=told) as error:
        trainer(tmp_path, **{name: value})
    assert "\n" not in str(error.value)


def test_another_tree_to_serve_is_taken_up(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.step(next(run.steps()))
    run.save()
    other = {"proposer": "glide", "tree_shape": [3, 2]}
    assert trainer(tmp_path, serve=other).config.longspec_config == other
    assert trainer(tmp_path).config.longspec_config == run.config.longspec_config


def test_a_tree_that_cannot_be_served_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(tmp_path)
    serve = '{"proposer": "glide", "tree_shape": [2], "nodez": 3}'
    assert main(["train", *options(tmp_path, tmp_path / "run"), "--serve", serve]) == 2
    assert "nodez" in capsys.readouterr().err
    assert not (tmp_path / "run" / "state" / "state.pt").exists()


def test_one_run_at_a_time_has_a_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(tmp_path)
    with locked(tmp_path / "run" / "state" / "run.lock"):
        assert main(["train", *options(tmp_path, tmp_path / "run")]) == 2
    assert "being written by another process" in capsys.readouterr().err
    assert main(["train", *options(tmp_path, tmp_path / "run")]) == 0


def test_a_run_is_tested_on_the_same_sequences_to_its_end(tmp_path: Path) -> None:
    run = trainer(tmp_path, epochs=1.0)
    before = [s.name for s in run.data.tests([], 64)]
    train(run)
    write_shard(tmp_path / "features", 2, sequences=30, top=5)
    again = Trainer(run.settings.model_copy(update={"epochs": 2.0}))
    assert len(again.data.tests([], 64)) > len(before)
    train(again)
    assert again.done.tests == before
    rows = read_curves(tmp_path / "state" / "curves.csv")
    assert all("top1_lag1" in row for row in rows)


def test_what_is_not_tested_has_no_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path, epochs=1.0)
    run.data.kept.clear()
    train(run)
    assert "accuracy is not measured" in capsys.readouterr().err
    rows = read_curves(tmp_path / "state" / "curves.csv")
    assert rows
    assert not any(key.startswith("top") for row in rows for key in row)


def test_a_broken_state_is_refused_in_one_line(tmp_path: Path) -> None:
    options = settings(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read") as error:
        Trainer(options)
    assert "\n" not in str(error.value)
