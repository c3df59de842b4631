"""The learning rate over a run: a linear warm-up, then cosine, linear or constant."""

from __future__ import annotations

import math

from .settings import TrainSettings

START = 0.02
"""Share of the peak with which the warm-up starts."""


def rate(settings: TrainSettings, progress: float) -> float:
    """Learning rate after a share ``progress`` (0 to 1) of the run."""
    s = settings
    if progress < s.warmup:
        return s.learning_rate * max(progress / s.warmup, START)
    along = (min(progress, 1.0) - s.warmup) / (1 - s.warmup)
    left = {"cosine": (1 + math.cos(math.pi * along)) / 2, "linear": 1 - along, "constant": 1.0}
    return s.learning_rate * (s.final_rate + (1 - s.final_rate) * left[s.schedule])
