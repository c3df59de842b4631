"""The training loop: steps of several micro-batches, tests, saved states, exported drafts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from ...glide.checkpoint import VOCABULARY, save_glide
from ...glide.config import GlideConfig
from ...glide.layer import GlideLayer
from ...registry import load_proposer
from .. import provenance
from ..evaluate.ways import served
from ..features.shards import Source, open_index
from ..target import TargetWeights
from . import curves, initial, lags, state
from .accuracy import held_out_accuracy
from .batches import Piece, epoch, pack
from .data import FeatureFolder
from .distributed import Processes
from .optimise import optimizers
from .schedule import rate
from .settings import TrainSettings
from .step import Distiller

SUMS = ("loss", "weight", "positions", "seconds", "stop")
"""What is added up over the processes beside the gradients."""


class Trainer:
    """One run, from its start or from where it was stopped.

    Weights are kept in float32; a copy of them in ``dtype`` makes the forward and backward passes,
    and its gradients are added up in float32.
    """

    def __init__(
        self,
        settings: TrainSettings,
        processes: Processes | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.settings = settings
        self.processes = processes or Processes(0, 1, torch.device("cpu"))
        self.folder = settings.place(settings.state, "state")
        features = settings.place(settings.features, "features")
        shards = self.processes.first(len(open_index(features).shards))
        self.data = FeatureFolder(features, settings.prompt_tail, settings.max_tokens, shards)
        _check(settings, self.data)
        self.done, self.exported = state.Progress(), False
        weights = TargetWeights(settings.target)
        saved = state.load(self.folder, settings)
        if saved is None:
            self.config, self.layer, self.vocabulary = initial.start(settings, weights, self.data)
        else:
            self.done, tensors = saved
            config = GlideConfig.model_validate(tensors["config"])
            self.config = initial.serving(config, settings)
            self.exported = self.config == config
            self.layer, self.vocabulary = GlideLayer(self.config), tensors["vocabulary"]
            self.layer.load_state_dict(tensors["layer"])
        self._place(weights, dtype)
        if saved is not None:
            for optimizer, found in zip(self.optimizers, tensors["optimizers"], strict=True):
                optimizer.load_state_dict(found)

    def _place(self, weights: TargetWeights, dtype: torch.dtype) -> None:
        """Put all on the device, and gradients end to end in one buffer."""
        device = self.processes.device
        self.layer = self.layer.to(device)
        self.copy = GlideLayer(self.config).to(device, dtype)
        target = weights.model(dtype, device)
        self.model = Distiller(self.config, self.copy, target, self.vocabulary)
        sizes = [p.numel() for p in self.layer.parameters()]
        self.buffer = torch.zeros(sum(sizes) + len(SUMS), device=device)
        self.gradients, self.sums = self.buffer.split([sum(sizes), len(SUMS)])
        for p, grad in zip(self.layer.parameters(), self.gradients.split(sizes), strict=True):
            p.grad = grad.view_as(p)
        self.optimizers = optimizers(self.layer, self.settings, self.processes)
        self.clock = time.monotonic()
        self._update_copy()

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        done, settings = self.done, self.settings
        if settings.minutes is not None:
            return min(1.0, done.seconds / (settings.minutes * 60))
        return min(1.0, (done.epoch + done.groups / done.of) / settings.epochs)

    def steps(self) -> Iterator[list[list[Piece]]]:
        """The micro-batches of each step (:meth:`step` takes it) until the run is done."""
        for number in count(self.done.epoch):
            for groups in self._epoch(number):
                if self.progress >= 1:
                    return
                yield groups
            self.done.epoch, self.done.groups = number + 1, 0

    def _epoch(self, number: int) -> Iterator[list[list[Piece]]]:
        """One pass over the data, from where it was left."""
        if not self.done.groups:  # a new pass takes the shards that came during the last
            self.done.shards = self.processes.first(self.data.refresh())
        self.data.refresh(self.done.shards)
        sequences = [s for s in self.data.train if s.shard < self.done.shards]
        seed = self.settings.seed * 1_000_003 + number
        groups = epoch(sequences, self.settings.batch_tokens, seed)
        self.done.of = len(groups)
        each = self.processes.size * self.settings.accumulate
        for at in range(self.done.groups, len(groups), each):
            yield groups[at : at + each]

    def step(self, groups: list[list[Piece]], stop: bool = False) -> tuple[float, bool]:
        """One update from micro-batches, of which this process does its share.

        Returns:
            their mean loss, and whether any process wants to ``stop``.
        """
        self.buffer.zero_()
        for number, group in enumerate(groups):
            if number % self.processes.size == self.processes.rank:
                self._micro_batch(number, group)
        now = time.monotonic()
        first = self.processes.rank == 0  # whose clock is everyone's
        self.sums[3:] = torch.tensor([(now - self.clock) * first, stop])
        self.clock = now
        self.processes.add_up(self.buffer)
        loss, weight, positions, seconds, stopped = self.sums.tolist()
        self._update(max(weight, 1e-9))
        self.done.steps += 1
        self.done.groups += len(groups)
        self.done.positions += round(positions)
        self.done.seconds += seconds
        self.done.losses.append(loss / max(weight, 1e-9))
        return self.done.losses[-1], stopped > 0

    def _micro_batch(self, number: int, group: list[Piece]) -> None:
        s = self.settings
        batch = pack(self.data, group, self.model.reach).to(self.processes.device)
        draws = lags.generator(s.seed, self.done.steps, number)
        loss, weight = self.model.loss(batch, s.lag_weights, draws, s.hard, s.top_k, s.weighting)
        loss.backward()
        for p, copy in zip(self.layer.parameters(), self.copy.parameters(), strict=True):
            if copy.grad is not None and p.grad is not None:
                p.grad += copy.grad
            copy.grad = None
        self.sums[:2] += torch.stack([loss.detach(), weight])
        self.sums[2] += len(batch.positions)

    def _update(self, weight: float) -> None:
        """One step of the optimisers on the mean gradient."""
        self.gradients.div_(weight)
        norm = float(self.gradients.norm())
        if norm > self.settings.clip:
            self.gradients.mul_(self.settings.clip / norm)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(self.settings, self.progress)
            optimizer.step()
        self._update_copy()

    @torch.no_grad()
    def _update_copy(self) -> None:
        for copy, p in zip(self.copy.parameters(), self.layer.parameters(), strict=True):
            copy.copy_(p)

    def test(self) -> dict[str, float]:
        """Measure, save and export; returns the new row of the log.

        Process 0 does this alone; its time counts as no training.
        """
        losses = self.done.losses
        tests = self.data.tests(self.done.tests, self.settings.held_out)
        self.done.tests = [sequence.name for sequence in tests]
        row = {
            "seconds": self.done.seconds,
            "step": self.done.steps,
            "positions": self.done.positions,
            "sequences": len(self.data.train),
            "rate": rate(self.settings, self.progress),
            "loss": sum(losses) / len(losses),
        }
        row |= held_out_accuracy(self.model, self.data, tests, len(self.settings.lag_weights))
        self.done.log.append(row)
        losses.clear()
        self.export()
        self.save()
        curves.write(self.done.log, self.folder)
        self.clock = time.monotonic()
        return row

    def check_served(self) -> None:
        """Fail now, and not when the draft is trained, if it could not be served as it says.

        Raises:
            ValueError: one line that names the option.
        """
        if self.exported:
            return
        self.export()
        way = served(self.settings.place(self.settings.out, "draft"), "", {})
        load_proposer(way.proposer)(way.draft, way.options)

    def export(self) -> None:
        """Write the draft folder that servers load (bf16), and what it was trained with."""
        tensors: dict[str, Tensor] = {k: v.bfloat16() for k, v in self.layer.state_dict().items()}
        if self.vocabulary is not None:
            tensors[VOCABULARY] = self.vocabulary.int()
        draft = self.settings.place(self.settings.out, "draft")
        save_glide(draft, self.config, tensors)
        provenance.write(draft, self.settings.model_dump(mode="json"))

    def save(self) -> None:
        """Write what a run needs to go on."""
        tensors = {
            "config": self.config.model_dump(),
            "vocabulary": self.vocabulary,
            "layer": self.layer.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        state.save(self.folder, self.settings, self.done, tensors)


def _check(settings: TrainSettings, data: FeatureFolder) -> None:
    index = data.index
    if settings.top_k > index.top:
        raise ValueError(
            f"top_k={settings.top_k}: the features in {data.folder} hold {index.top} logits of each"
            f" token; allowed: 0 to {index.top}, or make features with --top {settings.top_k}"
        )
    if Source.of(settings.target, "").config_sha256 != index.target.config_sha256:
        raise ValueError(
            f"the features in {data.folder} were made of {index.target.name}, whose config.json is"
            f" not that of target={settings.target}; make features of this target"
        )
