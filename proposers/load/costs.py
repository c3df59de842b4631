"""What a step costs: seconds as a function of its size, learnt from measured times alone.

A step of as many rows costs more with trees than without: masks, positions and the walk come on top
of the forward. So each kind has a curve of its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

MEMORY = 64.0
"""Measurements that a mean remembers: machines change, and texts grow."""
LEAST = 2.0
"""What an old mean still weighs when a new measurement comes; the first ones are averaged."""
HALF_LIFE = 256
"""Steps in which what was measured loses half its weight."""
KNOWN, SURE = 4.0, 16.0
"""Weights. A mean that is known is moved by no measurement as if it were off by more than a factor
of ``OUTLIER``; one that is sure tells by its measurements that the machine has changed its pace."""
OUTLIER = 1.5
PACE_RATE = 0.3


@dataclass
class _Bucket:
    """Means of the sizes and of the logarithms of the seconds that fell into it."""

    size: float
    log_seconds: float
    weight: float
    step: int


class Curve:
    """Seconds by size: means of a third of an octave each, with straight lines between them.

    What is not known is thought cheap, so that it is tried: below the least size time is
    proportional to it, above the greatest it goes on as from the least to there.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, _Bucket] = {}
        self._points: list[tuple[float, float]] = []

    def note(self, size: float, seconds: float, step: int) -> float:
        """Take a measurement in; return by what factor it was off, 1 where the mean is not sure.

        Args:
            step: the number of this step, by which older measurements lose weight.
        """
        key, log = round(3 * math.log2(size)), math.log(seconds)
        bucket = self._buckets.setdefault(key, _Bucket(size, log, 0.0, step))
        faded = min(bucket.weight, MEMORY) * 0.5 ** ((step - bucket.step) / HALF_LIFE)
        known = faded >= KNOWN
        weight = max(faded, min(bucket.weight, LEAST))
        most = math.log(OUTLIER)
        error = min(log - bucket.log_seconds, most)
        if known:
            error = max(error, -most)
        elif error < -most:  # what was slow at first was none of its own
            weight = 0.0
        bucket.log_seconds += error / (weight + 1)
        bucket.size += (size - bucket.size) / (weight + 1)
        bucket.weight, bucket.step = weight + 1, step
        self._points = sorted((b.size, math.exp(b.log_seconds)) for b in self._buckets.values())
        return math.exp(error) if faded >= SURE else 1.0

    def seconds(self, size: float) -> float:
        """The time that a size takes, as far as it is known; 0 as long as nothing is."""
        points = self._points
        if not points:
            return 0.0
        if size <= points[0][0]:
            return points[0][1] * size / points[0][0]
        at = bisect_left(points, (size, 0.0))
        if at == len(points):
            return self._beyond(size)
        (x0, y0), (x1, y1) = points[at - 1], points[at]
        return y0 + (y1 - y0) * (size - x0) / (x1 - x0) if x1 > x0 else y1

    def _beyond(self, size: float) -> float:
        (x0, y0), (x1, y1) = self._points[0], self._points[-1]
        return y1 + max(y1 - y0, 0.0) * (size - x1) / (x1 - x0) if x1 > x0 else y1


class Costs:
    """Of target steps by their rows, and of each way of drafting by its rows, at one pace.

    A machine that others use is slower at times, whatever it does. The pace follows that, so that
    what was measured last does not look dear beside what was measured before.
    """

    def __init__(self) -> None:
        self.plain, self.trees = Curve(), Curve()
        self.drafts: dict[int, Curve] = {}
        self.step = 0
        self.pace = 1.0

    def note_step(self, requests: int, rows: int, seconds: float) -> None:
        """A target step, all that an engine does between two steps included; of more ``rows`` than
        ``requests`` where it had trees."""
        self._note(self.trees if rows > requests else self.plain, rows, seconds)

    def note_drafts(self, way: int, rows: float, seconds: float) -> None:
        """Drafting in this way."""
        self._note(self.drafts.setdefault(way, Curve()), rows, seconds)

    def _note(self, curve: Curve, size: float, seconds: float) -> None:
        off = curve.note(size, seconds / self.pace, self.step)
        self.pace *= off**PACE_RATE

    def seconds(self, requests: float, rows: float, way: int, drafted: float) -> float:
        """Of a step with trees, no less than without, and the drafting of ``drafted`` rows; at an
        even pace."""
        drafts = self.drafts.get(way)
        step = max(self.trees.seconds(rows), self.plain.seconds(requests))
        return step + (drafts.seconds(drafted) if drafts else 0.0)

    def plain_seconds(self, requests: float) -> float:
        """Of a step without trees."""
        return self.plain.seconds(requests) or self.trees.seconds(requests)
