"""Several processes of ``torchrun``: gloo on CPUs, nccl on GPUs. One process needs neither."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """All processes of a run, of which this is number ``rank``; number 0 saves and speaks."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """Meet the other processes, if ``torchrun`` started several; each takes a GPU."""
        rank, size = (int(os.environ.get(name, d)) for name, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        if device.type == "cuda" and size > 1:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if size > 1:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, size, device)

    def add_up(self, buffer: Tensor) -> None:
        """Replace a buffer by its sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(buffer)

    def first(self, number: int) -> int:
        """What process 0 has here."""
        if self.size == 1:
            return number
        shared = torch.tensor([number], device=self.device)
        distributed.broadcast(shared, 0)
        return int(shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if self.size > 1:
            distributed.destroy_process_group()
