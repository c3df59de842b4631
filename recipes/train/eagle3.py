"""Train an EAGLE-3 head (arXiv 2503.01840) on the answers that a GLIDE draft learns from.

    python recipes/smollm2-135m-instruct/answers.py --states --target DIR --out FEATURES ...
    python -m recipes.train.eagle3 --target DIR --features FEATURES --draft DRAFT --out HEAD

A rival for GLIDE's draft, which vLLM serves itself: ``{"method": "eagle3", "model": HEAD}``. As in
the paper there is no loss on states, and training does what drafting does ("training-time test"):
the head's own output stands for the target's states at step 2 and on. Goal, draft vocabulary
(``--draft``), optimisers and schedule are those of our trainer. It stops after ``--piece`` minutes,
saves, and goes on when it is started again, until it has trained ``--minutes``, by the processor's
clock: use one thread (``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from proposers.glide.checkpoint import VOCABULARY, load_glide
from proposers.rotary import Rotary
from proposers.train.command import guarded
from proposers.train.target import TargetWeights
from proposers.train.trainer.batches import Piece, cut, epoch
from proposers.train.trainer.data import FeatureFolder
from proposers.train.trainer.distributed import Processes
from proposers.train.trainer.loss import Goal, distillation_loss
from proposers.train.trainer.optimise import optimizers
from proposers.train.trainer.schedule import rate
from proposers.train.trainer.settings import TrainSettings

from .eagle3_batch import Batch, attention, pack
from .eagle3_head import Eagle3Head, save_head

PROMPT_TAIL = 16
DECAY = 0.8
"""Weight of a step's loss over that of the step before, as in the paper's code."""
TESTS = 64


class Eagle3Trainer:
    """The head (float32, and a copy in bfloat16 that computes) beside the target's frozen parts."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.data = FeatureFolder(args.features, PROMPT_TAIL)
        self.weights = TargetWeights(args.target)
        target = self.weights.model()
        _, draft = load_glide(args.draft)
        self.vocabulary = draft[VOCABULARY]
        self.embedding = target.embedding
        self.head = target.head[self.vocabulary].contiguous()
        shape = self.weights.shape("")
        self.rotary = Rotary(shape.rope, shape.head_dim, torch.device("cpu"))
        torch.manual_seed(0)
        self.model, self.copy = (Eagle3Head(self.weights.config) for _ in range(2))
        self.copy.bfloat16()
        learning = {"learning_rate": args.learning_rate, "minutes": args.minutes}
        self.settings = TrainSettings.model_validate({"target": args.target, **learning})
        alone = Processes(0, 1, torch.device("cpu"))
        self.optimizers = optimizers(self.model, self.settings, alone)
        self.done: dict[str, Any] = {"seconds": 0.0, "positions": 0, "epoch": 0, "at": 0}
        self._load()

    @property
    def left(self) -> float:
        """Processor seconds that are still to be trained: others may share the core."""
        return float(60 * self.args.minutes - self.done["seconds"])

    def steps(self, batch: Batch, depth: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of the head's output ``[N, H]``, and of the target's state ``[N, H]``, by step."""
        copy, layer, hidden = self.copy, self.copy.midlayer, self.copy.fuse(batch.states)
        following = F.embedding(batch.following, self.embedding)
        x = layer.read(following, hidden)
        tables = self.rotary.tables(batch.positions, x.dtype)
        known = layer.pairs(x, tables)
        rows, own = batch.rows, list[tuple[Tensor, Tensor]]()
        tables = (tables[0][rows], tables[1][rows])
        x, hidden = x[rows], hidden[rows]
        for step in range(depth):
            if step:
                x = layer.read(following[rows + step], hidden)
                tables = self.rotary.tables(batch.positions[rows] + step, x.dtype)
                own.append(layer.pairs(x, tables))
            hidden = layer(x, hidden, tables, lambda q: attention(q, *known, own, batch))
            yield copy.norm(hidden), batch.hidden[rows + 1 + step]

    def train(self) -> None:
        """Go on until the piece or the whole is done."""
        began, mark = time.monotonic(), time.process_time()
        while self.left > 0 and time.monotonic() - began < 60 * self.args.piece:
            groups = epoch(self.data.train, self.args.batch_tokens, self.done["epoch"])
            loss, positions = self._step(groups[self.done["at"]])
            mark, spent = time.process_time(), time.process_time() - mark
            self.done["seconds"] += spent
            self.done["positions"] += positions
            self.done["at"] += 1
            if self.done["at"] == len(groups):
                self.done |= {"epoch": self.done["epoch"] + 1, "at": 0}
            if self.done["at"] % 50 == 0:
                print(f"{self.done} loss {loss:.3f}", flush=True)

    def _step(self, pieces: list[Piece]) -> tuple[float, int]:
        batch = pack(self.data, pieces, self.args.depth)
        total = torch.zeros(())
        for step, (out, goal) in enumerate(self.steps(batch, self.args.depth)):
            loss, weight = distillation_loss(out, self.head, Goal(self.settings.hard, goal))
            total = total + DECAY**step * loss / weight
        total.backward()
        pairs = list(zip(self.model.parameters(), self.copy.parameters(), strict=True))
        for p, copy in pairs:
            assert copy.grad is not None
            p.grad, copy.grad = copy.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(self.settings, 1 - self.left / (60 * self.args.minutes))
            optimizer.step()
        with torch.no_grad():
            for p, copy in pairs:
                copy.copy_(p)
        return float(total.detach()), len(batch.rows)

    @torch.no_grad()
    def test(self) -> list[float]:
        """How often the first 1, 2, ... guesses are all right, in held-out greedy answers."""
        right, count = torch.zeros(self.args.depth), 0
        for piece in cut(self.data.tests([], TESTS), self.args.batch_tokens):
            batch = pack(self.data, [piece], self.args.depth)
            so_far = torch.ones(len(batch.rows), dtype=torch.bool)
            for step, (out, _) in enumerate(self.steps(batch, self.args.depth)):
                guess = self.vocabulary[(out @ self.head.T).max(-1).indices]
                so_far &= guess == batch.following[batch.rows + 1 + step]
                right[step] += so_far.sum()
            count += len(so_far)
        return [round(share, 4) for share in (right / count).tolist()]

    def save(self) -> None:
        """Write the head, and beside it what a run needs to go on."""
        save_head(self.args.out, self.model, self.weights, self.vocabulary)
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"done": self.done, "model": self.model.state_dict(), "optimizers": states}
        torch.save(state, temporary := self.args.out / "state.tmp")
        temporary.replace(self.args.out / "state.pt")

    def _load(self) -> None:
        path = self.args.out / "state.pt"
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.done = state["done"]
            self.model.load_state_dict(state["model"])
            for optimizer, found in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(found)
        self.copy.load_state_dict(self.model.state_dict())


def run(args: argparse.Namespace) -> None:
    """Train a piece, save, and tell how good the head is."""
    trainer = Eagle3Trainer(args)
    trainer.train()
    trainer.save()
    print(f"{trainer.done}; held out, share with 1, 2, ... guesses right: {trainer.test()}")


def main() -> int:
    """0 done, 2 a mistake, 130 Ctrl-C."""
    options = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name in ("target", "features", "draft", "out"):
        options.add_argument(f"--{name}", type=Path, required=True)
    options.add_argument("--minutes", type=float, default=40, help="of processor time in all")
    options.add_argument(
        "--piece", type=float, default=1e9, help="minutes by the wall until it stops"
    )
    options.add_argument("--depth", type=int, default=3, help="drafted tokens of a step")
    options.add_argument("--batch-tokens", type=int, default=2048, help="trained positions")
    options.add_argument("--learning-rate", type=float, default=0.008)
    return guarded("eagle3", lambda: run(options.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
