"""The training loop: Muon or AdamW on a schedule that follows the clock, resumable any time."""

from __future__ import annotations

import csv
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ..glide.checkpoint import VOCABULARY, load_glide, save_glide
from ..glide.config import GlideConfig
from ..glide.layer import GlideLayer
from .curves import plot
from .data import Batch, FeatureFolder
from .evaluate import held_out_accuracy
from .settings import TrainSettings
from .step import Distiller
from .target import TargetWeights, initialise


class Trainer:
    """One run; `Ctrl-C` saves the state, and the same command goes on from there."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.rng = random.Random(settings.seed)
        self.data = FeatureFolder(settings.features, settings.prompt_tail, settings.held_out)
        weights = TargetWeights(settings.target)
        target = weights.model()
        shape = weights.shape(settings.target_name or settings.target.name)
        counts = self.data.answer_counts(shape.vocab_size)
        size = min(settings.draft_vocab, shape.vocab_size)
        self.vocabulary = counts.topk(size).indices.sort().values
        self.config = GlideConfig(
            target=shape,
            window=settings.window,
            draft_vocab_size=size,
            hidden_state_input=settings.hidden_state_input,
            max_lag=len(settings.lag_weights),
            longspec_config={"proposer": "glide", "tree_shape": settings.tree_shape},
        )
        self.layer = GlideLayer(self.config)
        initialise(self.layer, weights)
        if settings.init is not None:
            _, state = load_glide(settings.init)
            self.layer.load_state_dict({k: v for k, v in state.items() if k != VOCABULARY})
        offset = settings.anchor_offset
        self.model = Distiller(self.config, self.layer, target, self.vocabulary, offset)
        self.optimizers = optimizers(self.layer, settings)
        self.seconds, self.steps, self.tokens = 0.0, 0, 0
        self.log: list[dict[str, float]] = []
        self._resume()

    @property
    def progress(self) -> float:
        """Share of the training time that has passed."""
        return min(1.0, self.seconds / (self.settings.minutes * 60))

    def rate(self) -> float:
        """Learning rate now: linear warm-up, then a cosine to `final_rate` of the peak."""
        s = self.settings
        if self.progress < s.warmup:
            return s.learning_rate * max(self.progress / s.warmup, 0.02)
        along = (self.progress - s.warmup) / (1 - s.warmup)
        return s.learning_rate * (
            s.final_rate + (1 - s.final_rate) * (1 + math.cos(math.pi * along)) / 2
        )

    def train(self) -> None:
        """Run until the time is up; then export."""
        saved, started = time.time(), time.time()
        losses: list[float] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(
                "training", total=self.settings.minutes * 60, completed=int(self.seconds)
            )
            try:
                for batch in self._batches():
                    losses.append(self._step(batch))
                    self.seconds += time.time() - started
                    started = time.time()
                    text = f"step {self.steps}, {self.tokens:,} positions, loss {losses[-1]:.3f}"
                    bar.update(task, completed=self.seconds, description=text)
                    if time.time() - saved > self.settings.save_minutes * 60:
                        self._evaluate(losses)
                        saved = started = time.time()
                        losses = []
            except KeyboardInterrupt:
                self._save_state()
                raise
        self._evaluate(losses)

    def _batches(self) -> Iterator[Batch]:
        while True:
            for batch in self.data.epoch(self.settings.batch_tokens, self.rng):
                if self.progress >= 1:
                    return
                yield batch

    def _step(self, batch: Batch) -> float:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate()
        weights = torch.tensor(self.settings.lag_weights)
        lags = torch.multinomial(weights, batch.positions.numel(), replacement=True) + 1
        with torch.autocast("cpu", torch.bfloat16):
            loss = self.model.loss(batch, lags.view_as(batch.positions), self.settings.hard)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.layer.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.layer.zero_grad(set_to_none=True)
        self.steps += 1
        self.tokens += int(batch.valid.sum())
        return float(loss.detach())

    def _evaluate(self, losses: list[float]) -> None:
        row = {
            "seconds": self.seconds,
            "step": self.steps,
            "positions": self.tokens,
            "sequences": len(self.data.train),
            "rate": self.rate(),
            "loss": sum(losses) / max(len(losses), 1),
        }
        row |= held_out_accuracy(self.model, self.data, len(self.settings.lag_weights))
        self.log.append(row)
        print({k: round(v, 4) for k, v in row.items()}, flush=True)
        self._save_state()
        self.export()
        with open(self.settings.state / "curves.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(self.log[0]))
            writer.writeheader()
            writer.writerows(self.log)
        plot(self.log, self.settings.state / "curves.png")

    def export(self) -> None:
        """Write the draft folder that servers load (bf16)."""
        state: dict[str, Tensor] = {k: v.bfloat16() for k, v in self.layer.state_dict().items()}
        state[VOCABULARY] = self.vocabulary.int()
        save_glide(self.settings.out, self.config, state)

    def _save_state(self) -> None:
        path = self.settings.state / "state.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "layer": self.layer.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "seconds": self.seconds,
            "steps": self.steps,
            "tokens": self.tokens,
            "log": self.log,
            "torch_rng": torch.get_rng_state(),
            "python_rng": self.rng.getstate(),
        }
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def _resume(self) -> None:
        path: Path = self.settings.state / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.layer.load_state_dict(state["layer"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.seconds, self.steps, self.tokens = state["seconds"], state["steps"], state["tokens"]
        self.log = state["log"]
        torch.set_rng_state(state["torch_rng"])
        self.rng.setstate(state["python_rng"])


def optimizers(layer: GlideLayer, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """AdamW for all weights, or Muon for matrices and AdamW for norms.

    Muon (orthogonalised momentum) is scaled to AdamW's update size, so both share one rate.
    """
    decay = settings.weight_decay
    matrices = [p for p in layer.parameters() if p.ndim > 1]
    vectors = [p for p in layer.parameters() if p.ndim == 1]
    found: list[torch.optim.Optimizer] = []
    groups: list[dict[str, Any]] = [{"params": vectors, "weight_decay": 0.0}]
    if settings.optimizer == "muon":
        found.append(torch.optim.Muon(matrices, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    else:
        groups.append({"params": matrices, "weight_decay": decay})
    return [*found, torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)]
