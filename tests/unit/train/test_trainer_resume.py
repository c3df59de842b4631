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


def test_another_shape_cannot_go_on(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    run.step(next(run.steps()))
    run.save()
    with pytest.raises(
        ValueError, match=r"layers=2: the run in .* has layers=1; keep that"
    ) as error:
        trainer(tmp_path, layers=2)
    assert "\n" not in str(error.value)


def test_a_broken_state_is_refused_in_one_line(tmp_path: Path) -> None:
    options = settings(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be read") as error:
        Trainer(options)
    assert "\n" not in str(error.value)
