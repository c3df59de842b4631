"""What cached features buy: epochs over them against the target's forward in every step.

    python -m recipes.train.cached --target DIR --features DIR [--batches 12]

Both ways train the same draft on the same batches, one after the other on each batch, at one
thread. A batch takes a random part of a minute on a shared machine, so that times are processor
seconds, and the range of the ratio is a 95% bootstrap interval over batches.
"""

from __future__ import annotations

import argparse
import time
from array import array
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from proposers.train.features.answers import Sequence as Answer
from proposers.train.features.forward import Target
from proposers.train.trainer.batches import Piece
from proposers.train.trainer.data import FeatureFolder, Sequence
from proposers.train.trainer.settings import TrainSettings
from proposers.train.trainer.trainer import Trainer

CHUNK = 4096
"""Tokens of a sequence that go through the target at once."""


class Online(FeatureFolder):
    """The same sequences, whose features are made by the target when they are wanted."""

    target: Target
    made: dict[str, dict[str, Tensor]]

    def make(self, group: list[Piece]) -> None:
        """The target's forward over the sequences of a batch, one by one: nothing is padded."""
        self.made = {}
        for s in {piece.sequence for piece in group}:
            self.made[s.name] = self.target.rows([self._answer(s)])[0]

    def rows(self, sequence: Sequence) -> dict[str, Tensor]:
        tokens = super().rows(sequence)["tokens"]
        return {"tokens": tokens, **self.made[sequence.name]}

    def _answer(self, s: Sequence) -> Answer:
        tokens = array("i", super().rows(s)["tokens"].tolist())
        about = (s.name, s.category, tokens, s.prompt_len, s.greedy)
        return Answer(*about, anchor=s.anchor, shift=s.shift)


def measure(settings: TrainSettings, batches: int) -> np.ndarray:
    """``[batches, 3]`` positions, and seconds with cached and with fresh features."""
    trainer = Trainer(settings)
    assert settings.features is not None
    online = Online(settings.features, settings.prompt_tail)
    online.target = Target.load(settings.target, torch.device("cpu"), torch.bfloat16, CHUNK)
    cached = trainer.data
    found = []
    for groups, _ in zip(trainer.steps(), range(batches + 1), strict=False):
        row = [float(sum(piece.size for group in groups for piece in group))]
        for data in (cached, online):
            trainer.data = data
            began = time.process_time()
            if data is online:
                online.make([piece for group in groups for piece in group])
            trainer.step(groups)
            row.append(time.process_time() - began)
        trainer.data = cached
        found.append(row)
    return np.array(found[1:])  # the first warms up


def interval(rows: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95% bootstrap interval of the ratio of the pooled times."""
    picks = np.random.default_rng(0).integers(0, len(rows), (draws, len(rows)))
    sums = rows[picks].sum(axis=1)
    low, high = np.quantile(sums[:, 2] / sums[:, 1], [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Print positions a second both ways, and the ratio with its range."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="folder of features")
    parser.add_argument("--batches", type=int, default=12, help="batches measured")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/longspec-cached"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    values = {
        "target": args.target,
        "features": args.features,
        "data": args.scratch,
        "batch_tokens": args.batch_tokens,
        "epochs": 1000.0,
    }
    rows = measure(TrainSettings.read(None, values), args.batches)
    positions, cached, fresh = rows.sum(axis=0)
    low, high = interval(rows)
    print(f"cached features: {positions / cached:,.0f} positions a second")
    print(f"target's forward in every step: {positions / fresh:,.0f} positions a second")
    print(f"ratio {fresh / cached:.2f} (95% interval {low:.2f} to {high:.2f}, {len(rows)} batches)")


if __name__ == "__main__":
    main()
