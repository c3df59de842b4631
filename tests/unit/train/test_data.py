"""Feature folders: what is trained, what is kept, and folders that grow."""

import random
from pathlib import Path

import pytest
import torch

from proposers.train.data import KEEP, FeatureFolder

from .tiny import write_shard


def test_every_trained_position_comes_once_an_epoch(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, sequences=30)
    data = FeatureFolder(tmp_path, prompt_tail=2, held_out=4)
    batches = list(data.epoch(100, random.Random(0)))
    assert sum(int(b.valid.sum()) for b in batches) == sum(s.queries for s in data.train)
    assert all(int(b.valid.sum()) <= 100 for b in batches)


def test_batches_hold_the_sequences_rows(tmp_path: Path) -> None:
    write_shard(tmp_path, 0)
    data = FeatureFolder(tmp_path, prompt_tail=0, held_out=4)
    chosen = data.train[:3]
    batch = data.collate(chosen)
    for row, s in enumerate(chosen):
        positions = batch.positions[row][batch.valid[row]]
        assert positions.tolist() == list(range(s.prompt_len, s.end - s.start - 1))
        size = s.end - s.start
        assert torch.equal(batch.hidden[row, :size], data.shards[0]["hidden"][s.start : s.end])


def test_shards_that_appear_are_followed_and_kept_ones_never_trained(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, sequences=KEEP + 1)
    data = FeatureFolder(tmp_path, prompt_tail=0, held_out=4)
    before = len(data.train)
    write_shard(tmp_path, 1, sequences=KEEP + 1)
    list(data.epoch(1000, random.Random(0)))
    assert len(data.train) == 2 * before == 2 * (KEEP - 1)
    assert not set(data.kept) & set(data.train)


def test_an_empty_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no shard"):
        FeatureFolder(tmp_path, prompt_tail=0, held_out=4)
