"""The target's forward pass: what of it a draft reads, in chunks, so that memory stays bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...glide.config import TARGET_TYPES, TargetConfig
from ...native import multiplies_bfloat16
from .answers import Sequence

HEAD_ROWS = 256
"""Rows that go through the head at a time: a row of logits is as wide as the vocabulary."""


def read_config(folder: Path, name: str) -> TargetConfig:
    """Sizes of the target.

    Raises:
        ValueError: in one line, if there is no target in the folder or drafts cannot read it.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        kind = config.get("model_type")
        if kind not in TARGET_TYPES:
            raise ValueError(f"model_type={kind!r}; allowed: {', '.join(TARGET_TYPES)}")
        return TargetConfig.from_transformers(config, name)
    except OSError as error:
        raise ValueError(f"target={folder}: config.json: {error.strerror}") from None
    except KeyError as error:
        raise ValueError(f"target={folder}: config.json lacks {error.args[0]!r}") from None
    except (AttributeError, ValueError) as error:
        raise ValueError(f"target={folder}: config.json: {' '.join(str(error).split())}") from None


def pick(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Device and number type, ``auto`` resolved.

    Raises:
        ValueError: in one line, for a device that is not here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r}: {reason}; allowed: auto, cpu, cuda, cuda:N") from None
    if dtype == "auto":
        dtype = "bfloat16" if multiplies_bfloat16(place) else "float32"
    return place, getattr(torch, dtype)


@dataclass(frozen=True)
class Target:
    """A frozen causal LM of transformers.

    Attributes:
        chunk: tokens of each sequence in one forward; the rest follows with the cache.
    """

    model: Any
    device: torch.device
    chunk: int

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype, chunk: int) -> Target:
        """From a directory in the layout of Hugging Face."""
        from ...pretrained import load_causal_model, settle_rotary  # seconds to import

        model = load_causal_model(folder, dtype).to(device)
        settle_rotary(model)
        return cls(model, device, chunk)

    @torch.inference_mode()
    def rows(self, batch: list[Sequence], plain: bool = False) -> list[dict[str, Tensor]]:
        """``keys``, ``values`` ``[n, kv_heads, d]`` and ``hidden`` ``[n, H]`` of each sequence.

        Args:
            plain: at positions 0, 1, 2, ... even if the sequences have shifts.
        """
        from transformers import DynamicCache

        sizes = [len(s.tokens) for s in batch]
        tokens = self._padded([list(s.tokens) for s in batch])
        positions = self._padded([s.positions(plain) for s in batch])
        # without a config no layer slides, so that the last one keeps all keys; the mask of a
        # sliding layer is made from positions in the sequence and stays right
        cache, hidden = DynamicCache(), []
        for at in range(0, max(sizes), self.chunk):
            here = slice(at, at + self.chunk)
            # padding is on the right, where causal attention never looks: a mask of ones says so,
            # and keeps transformers from reading a jump of positions as a new document
            mask = torch.ones_like(tokens[:, : here.stop])
            output = self.model.base_model(
                input_ids=tokens[:, here],
                attention_mask=mask,
                position_ids=positions[:, here],
                past_key_values=cache,
                use_cache=True,
            )
            hidden.append(output.last_hidden_state)
        last = cache.layers[-1]
        keys, values = (t.transpose(1, 2) for t in (last.keys, last.values))
        whole = {"keys": keys, "values": values, "hidden": torch.cat(hidden, 1)}
        return [{k: t[i, :n] for k, t in whole.items()} for i, n in enumerate(sizes)]

    def _padded(self, rows: list[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        padded = [row + [0] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=self.device)

    def logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """``[256, V]`` float32 logits of some hundred rows of ``[n, H]`` after each other."""
        head = self.model.get_output_embeddings()
        for rows in hidden.split(HEAD_ROWS):
            yield head(rows).float()

    @torch.inference_mode()
    def top(self, hidden: list[Tensor], first: list[int], k: int) -> list[dict[str, Tensor]]:
        """The ``k`` greatest logits and ``log_norm`` of each sequence's rows from ``first`` on."""
        starts = [min(at, len(rows)) for rows, at in zip(hidden, first, strict=True)]
        found = [rows[at:] for rows, at in zip(hidden, starts, strict=True)]
        parts = [
            (*logits.topk(k), logits.logsumexp(-1)) for logits in self.logits(torch.cat(found))
        ]
        sizes = [len(rows) for rows in found]
        names = ("top_logits", "top_tokens", "log_norm")
        joined = [torch.cat(part).split(sizes) for part in zip(*parts, strict=True)]
        return [
            {name: _after_zeros(rows, at) for name, rows in zip(names, each, strict=True)}
            for at, each in zip(starts, zip(*joined, strict=True), strict=True)
        ]

    @torch.inference_mode()
    def loss(self, s: Sequence, plain: bool) -> tuple[float, int]:
        """Sum of the negative log-likelihoods of a sequence's tokens in nats, and how many."""
        hidden = self.rows([s], plain)[0]["hidden"][:-1]
        goals = torch.tensor(list(s.tokens[1:]), device=self.device).split(HEAD_ROWS)
        parts = zip(self.logits(hidden), goals, strict=True)
        total = sum(float(F.cross_entropy(rows, goal, reduction="sum")) for rows, goal in parts)
        return total, len(hidden)


def _after_zeros(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows.new_zeros(count, *rows.shape[1:]), rows])
