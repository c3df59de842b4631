"""What a generate method refuses, each in one line: the value, what is allowed, the fix."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from numbers import Real
from typing import cast

import torch
from torch import Tensor

from ..base import TargetShape
from ..growth import is_whole


def check_temperature(value: float) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise ValueError(f"temperature={value!r}: expected 0 (greedy) or a positive number")


def eos_ids(eos_id: int | Collection[int]) -> tuple[int, ...]:
    """One or several EOS ids as a tuple."""
    if is_whole(eos_id):
        return (int(cast(int, eos_id)),)
    if not isinstance(eos_id, Collection) or isinstance(eos_id, str | bytes) or not eos_id:
        raise ValueError(f"eos_id={eos_id!r}: expected a token id or a non-empty list of them")
    if bad := [token for token in eos_id if not is_whole(token)]:
        raise ValueError(f"eos_id={eos_id!r}: {bad[0]!r} is not a token id")
    return tuple(int(token) for token in eos_id)


def check_prompts(
    input_ids: Tensor,
    prompt_length: int | Sequence[int] | Tensor,
    max_gen_len: int,
    target: TargetShape,
) -> list[int]:
    """The prompts' lengths, one per row.

    Args:
        input_ids: ``[B, L]`` integers, right-padded.
        prompt_length: of all rows, or one per row.
    """
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or not input_ids.numel():
        shape = list(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
        raise ValueError(f"input_ids: expected a tensor [batch, tokens], got {shape}")
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"input_ids: expected int64 or int32 token ids, got {input_ids.dtype}")
    lengths = _lengths(prompt_length, input_ids.shape[0])
    for row, length in enumerate(lengths):
        _check_length(row, length, input_ids.shape[1], max_gen_len, target)
        ids = input_ids[row, :length]
        if int(ids.min()) < 0 or int(ids.max()) >= target.vocab_size:
            wrong = ids[(ids < 0) | (ids >= target.vocab_size)][0]
            raise ValueError(
                f"input_ids: row {row} holds token {int(wrong)};"
                f" the vocabulary is 0 to {target.vocab_size - 1}"
            )
    return [int(length) for length in lengths]


def _lengths(prompt_length: int | Sequence[int] | Tensor, batch: int) -> list[int]:
    if isinstance(prompt_length, Tensor):
        prompt_length = prompt_length.tolist()
    if not isinstance(prompt_length, Iterable):
        return [prompt_length] * batch
    lengths = list(prompt_length)
    if len(lengths) != batch:
        raise ValueError(
            f"prompt_length has {len(lengths)} entries for {batch} rows; give one per row"
        )
    return lengths


def _check_length(row: int, length: int, width: int, max_new: int, target: TargetShape) -> None:
    if not is_whole(length) or not 1 <= length <= width:
        raise ValueError(
            f"prompt_length={length!r} of row {row}: expected 1 to {width}, the width of input_ids"
        )
    limit = target.max_position_embeddings
    if length + max_new > limit:
        raise ValueError(
            f"row {row}: {length} prompt tokens and max_gen_len={max_new} pass the target's"
            f" {limit} positions; shorten one of them"
        )
