"""Feature shards as training batches; a folder that is still growing is followed.

A shard is a safetensors file of S sequences laid end to end, T tokens in all: ``tokens [T]``,
``offsets [S + 1]``, ``prompt_len [S]``, ``greedy [S]``, ``keys`` and ``values``
``[T, kv_heads, head_dim]`` (the target's last layer, keys rotated), ``hidden [T, H]`` (after the
target's final norm).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

KEEP = 24
"""One sequence in this many is never trained on; the greedy ones among them are for tests."""


@dataclass(frozen=True)
class Sequence:
    """Where one sequence lies, and which of its positions are trained.

    Attributes:
        start, end: its tokens in the shard.
        first: first trained position, counted from ``start``.
    """

    shard: int
    start: int
    end: int
    prompt_len: int
    first: int
    greedy: bool

    @property
    def queries(self) -> int:
        """Trained positions: each has a state of its own and a lag-1 state before it."""
        return self.end - self.start - 1 - self.first


@dataclass(frozen=True)
class Batch:
    """``B`` sequences padded to ``K`` tokens, of which ``Q`` positions each are trained.

    Attributes:
        tokens: ``[B, K]``.
        keys, values: ``[B, K, kv_heads, head_dim]``.
        hidden: ``[B, K, H]``.
        positions: ``[B, Q]`` of the trained positions.
        valid: ``[B, Q]`` False where padded.
    """

    tokens: Tensor
    keys: Tensor
    values: Tensor
    hidden: Tensor
    positions: Tensor
    valid: Tensor


class FeatureFolder:
    """All shards of a folder, opened as they appear (files are mapped, not copied)."""

    def __init__(self, folder: Path, prompt_tail: int, held_out: int) -> None:
        self.folder, self.prompt_tail = folder, prompt_tail
        self.shards: list[dict[str, Tensor]] = []
        self.train: list[Sequence] = []
        self.kept: list[Sequence] = []
        self.refresh()
        if not self.shards:
            raise ValueError(f"{folder} holds no shard-*.safetensors; make features first")
        self.held_out = self.kept[:held_out]

    def refresh(self) -> list[Sequence]:
        """Open shards that are new; return their sequences."""
        new: list[Sequence] = []
        for path in sorted(self.folder.glob("shard-*.safetensors"))[len(self.shards) :]:
            self.shards.append(load_file(path))
            found = self._sequences(len(self.shards) - 1)
            new.extend(s for i, s in enumerate(found) if i % KEEP)
            self.kept.extend(s for s in found[::KEEP] if s.greedy)
        self.train.extend(new)
        return new

    def _sequences(self, shard: int) -> list[Sequence]:
        data = self.shards[shard]
        offsets = data["offsets"].tolist()
        about = zip(data["prompt_len"].tolist(), data["greedy"].tolist(), strict=True)
        found = []
        for start, end, (prompt, greedy) in zip(offsets, offsets[1:], about, strict=False):
            first = max(1, prompt - self.prompt_tail)
            found.append(Sequence(shard, start, end, prompt, first, bool(greedy)))
        return [s for s in found if s.queries > 0]

    def answer_counts(self, vocab_size: int) -> Tensor:
        """``[V]`` how often each token occurs in answers (prompts count a thousandth)."""
        counts = torch.zeros(vocab_size, dtype=torch.float64)
        for data in self.shards:
            tokens = data["tokens"].long()
            counts += torch.bincount(tokens, minlength=vocab_size) * 1e-3
        for s in self.train:
            tokens = self.shards[s.shard]["tokens"][s.start + s.prompt_len : s.end].long()
            counts += torch.bincount(tokens, minlength=vocab_size)
        return counts

    def epoch(self, batch_tokens: int, rng: random.Random, pool: int = 384) -> Iterator[Batch]:
        """One pass over all sequences, those that appear on the way included."""
        left = list(self.train)
        while left:
            left.extend(self.refresh())
            rng.shuffle(left)
            drawn, left = left[:pool], left[pool:]
            groups = _group(sorted(drawn, key=_size), batch_tokens)
            rng.shuffle(groups)
            for group in groups:
                yield self.collate(group)

    def collate(self, group: list[Sequence]) -> Batch:
        """Pad sequences into one batch."""
        length = max(s.end - s.start for s in group)
        parts: dict[str, list[Tensor]] = {n: [] for n in ("tokens", "keys", "values", "hidden")}
        for s in group:
            for name, rows in parts.items():
                data = self.shards[s.shard][name][s.start : s.end]
                out = data.new_zeros(length, *data.shape[1:])
                out[: len(data)] = data
                rows.append(out)
        queries = torch.tensor([s.queries for s in group])
        offset = torch.arange(int(queries.max()))
        valid = offset < queries[:, None]
        positions = torch.where(valid, torch.tensor([s.first for s in group])[:, None] + offset, 1)
        stacked = {name: torch.stack(rows) for name, rows in parts.items()}
        return Batch(**stacked, positions=positions, valid=valid)


def _size(s: Sequence) -> tuple[int, int]:
    """Sort key: sequences of one batch shall agree in length, then in trained positions."""
    return (s.end - s.start).bit_length() * 2 + ((s.end - s.start) >> 9), s.queries


def _group(ordered: list[Sequence], batch_tokens: int) -> list[list[Sequence]]:
    """Batches of neighbours; padding counts, as it costs the same."""
    groups: list[list[Sequence]] = [[]]
    for s in ordered:
        widest = max((q.queries for q in groups[-1]), default=0)
        if groups[-1] and max(widest, s.queries) * (len(groups[-1]) + 1) > batch_tokens:
            groups.append([])
        groups[-1].append(s)
    return groups
