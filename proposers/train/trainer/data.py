"""The sequences of a feature folder: read lazily, followed while the folder grows."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..features.shards import Index, Shard, load_shard, open_index

OPEN = 256
"""Shards that stay mapped; one that was closed is mapped again when it is needed."""


@dataclass(frozen=True)
class Sequence:
    """Where one sequence lies, and which of its positions are trained.

    Attributes:
        start, end: its rows in the shard.
        first: first trained position, counted from ``start``.
        anchor, shift: token i is at position ``i + shift * (i >= anchor)``.
    """

    shard: int
    start: int
    end: int
    prompt_len: int
    first: int
    greedy: bool
    held_out: bool
    anchor: int
    shift: int
    category: str
    name: str

    @property
    def queries(self) -> int:
        """Trained positions: each has a token after it and a known state before it."""
        return self.end - self.start - 1 - self.first

    def places(self, low: int, high: int) -> Tensor:
        """``[high - low]`` rotary positions of the tokens ``low`` to ``high - 1``."""
        index = torch.arange(low, high)
        return index + self.shift * (index >= self.anchor)


@dataclass(frozen=True)
class Padded:
    """Whole sequences side by side, zeros behind their ends.

    Attributes:
        tokens, places: ``[B, K]`` ids and rotary positions.
        keys, values: ``[B, K, kv_heads, head_dim]``, keys rotated at their places.
        hidden: ``[B, K, H]``.
        lengths: ``[B]``.
    """

    tokens: Tensor
    places: Tensor
    keys: Tensor
    values: Tensor
    hidden: Tensor
    lengths: Tensor


class FeatureFolder:
    """The sequences of a feature folder.

    Args:
        prompt_tail: the last so many prompt tokens are trained on too.
        max_tokens: train on the first so many tokens only; 0 is all.
        shards: look at the first so many shards for now; None is all there are.

    Raises:
        ValueError: in one line, if the folder holds nothing to train on, or a shard is broken.
    """

    def __init__(
        self,
        folder: Path,
        prompt_tail: int,
        max_tokens: int = 0,
        shards: int | None = None,
    ) -> None:
        self.folder, self.prompt_tail, self.max_tokens = folder, prompt_tail, max_tokens
        self.files: list[str] = []
        self.train: list[Sequence] = []
        self.kept: list[Sequence] = []
        self.tokens = 0
        self._open: OrderedDict[int, dict[str, Tensor]] = OrderedDict()
        self.refresh(shards)
        if not self.train:
            raise ValueError(f"{folder} holds no sequence to train on; make more features")

    def tests(self, names: list[str], most: int) -> list[Sequence]:
        """Those of these ids; without ids the first greedy ones that are never trained on."""
        if not names:
            return [s for s in self.kept if s.greedy][:most]
        wanted = set(names)
        return [s for s in self.kept if s.name in wanted]

    @property
    def full(self) -> bool:
        """``max_tokens`` are there; more will not be taken."""
        return bool(self.max_tokens) and self.tokens >= self.max_tokens

    def refresh(self, shards: int | None = None) -> int:
        """Take shards that are new, up to so many in all; return how many there are now."""
        self.index: Index = open_index(self.folder)
        for shard in self.index.shards[:shards]:
            if shard.file not in self.files:
                self.files.append(shard.file)
                for sequence in self._sequences(len(self.files) - 1):
                    self._take(sequence)
        return len(self.files)

    def _take(self, sequence: Sequence) -> None:
        if sequence.held_out:
            self.kept.append(sequence)
        elif not self.full and sequence.queries > 0:
            self.train.append(sequence)
            self.tokens += sequence.end - sequence.start

    def _sequences(self, shard: int) -> list[Sequence]:
        data, entry = self._shard(shard), self._entry(shard)
        offsets = data["offsets"].tolist()
        keys = ("prompt_len", "greedy", "held_out", "anchor", "shift")
        about = zip(*(data[key].tolist() for key in keys), strict=True)
        found = []
        for i, (prompt, greedy, held_out, anchor, shift) in enumerate(about):
            start, end = offsets[i : i + 2]
            first = max(1, prompt - self.prompt_tail)
            flags = (bool(greedy), bool(held_out), anchor, shift)
            names = (entry.categories[i], entry.ids[i])
            found.append(Sequence(shard, start, end, prompt, first, *flags, *names))
        return found

    def _entry(self, shard: int) -> Shard:
        return next(s for s in self.index.shards if s.file == self.files[shard])

    def _shard(self, shard: int) -> dict[str, Tensor]:
        if shard not in self._open:
            self._open[shard] = load_shard(self.folder, self._entry(shard))
            if len(self._open) > OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]

    def rows(self, sequence: Sequence) -> dict[str, Tensor]:
        """Views of a sequence's rows, ``[n, ...]`` by the names of a shard's tensors."""
        data = self._shard(sequence.shard)
        names = (*ROWS, *(name for name in (*TOP, "states") if name in data))
        return {name: data[name][sequence.start : sequence.end] for name in names}

    def answer_counts(self, vocab_size: int) -> Tensor:
        """``[V]`` how often each token occurs in answers (prompts count a thousandth)."""
        counts = torch.zeros(vocab_size, dtype=torch.float64)
        for s in self.train:
            tokens = self._shard(s.shard)["tokens"][s.start : s.end].long()
            weights = torch.ones(len(tokens), dtype=torch.float64)
            weights[: s.prompt_len] = 1e-3
            counts.index_add_(0, tokens, weights)
        return counts

    def collate(self, sequences: list[Sequence]) -> Padded:
        """Pad whole sequences into one batch."""
        rows = [self.rows(s) for s in sequences]
        lengths = torch.tensor([s.end - s.start for s in sequences])
        padded = {name: _pad([row[name] for row in rows]) for name in ROWS}
        places = torch.stack([s.places(0, int(lengths.max())) for s in sequences])
        return Padded(places=places, lengths=lengths, **padded)


ROWS = ("tokens", "keys", "values", "hidden")
TOP = ("top_tokens", "top_logits", "log_norm")


def _pad(rows: list[Tensor]) -> Tensor:
    padded = rows[0].new_zeros(len(rows), max(map(len, rows)), *rows[0].shape[1:])
    for to, row in zip(padded, rows, strict=True):
        to[: len(row)] = row
    return padded
