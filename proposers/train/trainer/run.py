"""Train a draft on the features of its target.

    python -m proposers.train train --target MODEL
    torchrun --nproc-per-node 2 -m proposers.train train --target MODEL

Reads DATA/features, which may still be growing, and writes the draft to DATA/draft and the curves
to DATA/state, again and again while it trains. The same command goes on where it was stopped;
several processes of torchrun do the same steps as one with as many micro-batches.
"""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

import torch

from ..command import run_command
from ..features.forward import pick, read_config
from ..lock import locked
from ..progress import say, shown
from . import state
from .distributed import Processes
from .settings import TrainSettings
from .trainer import Trainer

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Names of ``malloc.h``."""


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    return run_command(TrainSettings, work, argv, __doc__)


def work(settings: TrainSettings) -> None:
    """Train to the end of the run."""
    read_config(settings.target, settings.target_name)
    device, dtype = pick(settings.device, settings.dtype)
    torch.set_num_threads(settings.threads)
    _keep_freed_memory()
    with Processes.join(device) as processes, _alone(settings, processes):
        trainer = Trainer(settings, processes, dtype)
        if processes.rank == 0:
            trainer.check_served()
            if trainer.done.steps:
                done = f"{trainer.done.steps} ({trainer.progress:.0%} of the run)"
                say("train", f"goes on after step {done}")
        train(trainer)


def _alone(settings: TrainSettings, processes: Processes) -> AbstractContextManager[object]:
    """No other run has this state; process 0 sees to that."""
    if processes.rank:
        return nullcontext()
    return locked(settings.place(settings.state, "state") / "run.lock")


def train(trainer: Trainer) -> None:
    """All steps that are left, with a test every ``save_minutes`` and at the end.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the step is done and the state saved.
    """
    speaks = trainer.processes.rank == 0
    pause = trainer.settings.save_minutes * 60
    tested = time.monotonic()
    bar = shown("train", 1.0, trainer.progress, speaks)
    with bar as advance, _interrupts() as interrupts:
        for groups in trainer.steps():
            _, stopped = trainer.step(groups, bool(interrupts))
            advance(trainer.progress, _about(trainer.done))
            if stopped:
                if speaks:
                    trainer.save()
                raise KeyboardInterrupt
            if speaks and time.monotonic() - tested > pause:
                _report(trainer)
                tested = time.monotonic()
        if speaks and trainer.done.losses:  # steps that no test has seen
            _report(trainer)


def _about(done: state.Progress) -> str:
    rate, recent = done.positions / max(done.seconds, 1e-9), done.losses[-20:]
    loss = sum(recent) / len(recent)
    return f"step {done.steps}, {done.positions:,} positions, {rate:,.0f}/s, loss {loss:.3f}"


def _report(trainer: Trainer) -> None:
    row = trainer.test()
    print({name: round(value, 4) for name, value in row.items()}, flush=True)
    if not trainer.done.tests:
        say("train", "no greedy answer is held out yet, so accuracy is not measured")


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C; the second Ctrl-C does not wait for the step."""
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


def _keep_freed_memory() -> None:
    """Have glibc keep large freed blocks instead of returning them.

    Each step needs the same ones again, which the kernel would have to clear: that was a sixth of
    the time of a step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            mallopt(option, 2**30)
