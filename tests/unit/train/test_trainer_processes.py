"""Two processes of torchrun (gloo) do the steps of one with twice as many micro-batches."""

import os
import socket
from pathlib import Path

import torch
from torch import multiprocessing

from proposers.train.trainer.distributed import Processes
from proposers.train.trainer.run import train
from proposers.train.trainer.settings import TrainSettings
from proposers.train.trainer.trainer import Trainer

from .training import settings, weights

STEPS = 5


def losses(options: TrainSettings, processes: Processes | None = None) -> list[float]:
    run = Trainer(options, processes)
    found = []
    for groups in run.steps():
        found.append(run.step(groups)[0])
        if len(found) == STEPS:
            break
    return found


def one_of_two(rank: int, port: int, options: TrainSettings) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    with Processes.join(torch.device("cpu")) as processes:
        torch.save(losses(options, processes), options.place(None, f"losses{rank}.pt"))
        run = Trainer(options.model_copy(update={"epochs": 0.6}), processes)
        train(run)  # rank 0 alone saves and exports


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    options = settings(tmp_path, epochs=3.0, batch_tokens=60, accumulate=2, weighting="reach")
    one = losses(options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = options.model_copy(update={"accumulate": 1})
    multiprocessing.spawn(one_of_two, (port, shared), nprocs=2)
    for rank in range(2):
        two = torch.load(tmp_path / f"losses{rank}.pt")
        torch.testing.assert_close(torch.tensor(two), torch.tensor(one), rtol=0, atol=1e-5)
    assert (tmp_path / "draft" / "model.safetensors").exists()
    together = weights(tmp_path)
    alone = options.model_copy(update={"epochs": 0.6, "state": tmp_path / "alone" / "state"})
    train(Trainer(alone))
    torch.testing.assert_close(weights(tmp_path / "alone"), together, rtol=0, atol=1e-5)
