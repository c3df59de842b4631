"""Feature folders: what is trained, what is kept, folders that grow, pieces and batches."""

from pathlib import Path

import pytest
import torch

from proposers.train.features.shards import KEEP
from proposers.train.trainer import data as module
from proposers.train.trainer.batches import Piece, cut, epoch, pack
from proposers.train.trainer.data import FeatureFolder

from .tiny import write_shard


def folder(path: Path, sequences: int = 30, **options: int) -> FeatureFolder:
    write_shard(path, 0, sequences, top=3)
    return FeatureFolder(path, **{"prompt_tail": 2, **options})


@pytest.mark.parametrize("batch_tokens", [7, 100])
def test_every_trained_position_comes_once_an_epoch(tmp_path: Path, batch_tokens: int) -> None:
    data = folder(tmp_path)
    groups = epoch(data.train, batch_tokens, seed=0)
    assert all(sum(p.size for p in group) <= batch_tokens for group in groups)
    seen = [(p.sequence.name, at) for g in groups for p in g for at in range(p.first, p.end)]
    assert len(seen) == len(set(seen)) == sum(s.queries for s in data.train)
    assert epoch(data.train, batch_tokens, seed=0) == groups
    assert epoch(data.train, batch_tokens, seed=1) != groups


def test_a_batch_holds_the_rows_of_its_pieces(tmp_path: Path) -> None:
    data = folder(tmp_path)
    first, second = data.train[:2]
    pieces = [Piece(first, 12, 17), Piece(second, 7, 10)]
    batch = pack(data, pieces, reach=4)
    assert batch.sizes == ([5, 3], [9, 7], [17, 10])
    assert batch.positions.tolist() == [*range(12, 17), *range(7, 10)]
    assert batch.token_positions[batch.rows].tolist() == batch.positions.tolist()
    assert batch.token_positions.tolist() == [*range(8, 17), *range(3, 10)]
    rows = data.rows(second)
    assert torch.equal(batch.tokens[9:], rows["tokens"][3:10].long())
    assert torch.equal(batch.following[5:], rows["tokens"][8:11].long())
    assert torch.equal(batch.hidden[9:], rows["hidden"][3:10])
    assert torch.equal(batch.keys[17:], rows["keys"][:10])
    assert torch.equal(batch.values[17:], rows["values"][:10])
    assert batch.cache_positions[17:].tolist() == list(range(10))
    assert batch.top_tokens is not None
    assert torch.equal(batch.top_tokens[5:], rows["top_tokens"][7:10])


def test_no_sequences_last_row_is_read(tmp_path: Path) -> None:
    data = folder(tmp_path)
    pieces = cut(data.train, 1000)
    assert all(p.end == p.sequence.end - p.sequence.start - 1 for p in pieces)
    assert all(p.first == 6 for p in pieces)  # prompts of 8, of which the last 2 are trained


def test_places_are_moved_behind_the_anchor(tmp_path: Path) -> None:
    data = folder(tmp_path)
    s = data.train[0]
    moved = type(s)(**{**vars(s), "anchor": 3, "shift": 100})
    assert s.places(1, 5).tolist() == [1, 2, 3, 4]
    assert moved.places(1, 5).tolist() == [1, 2, 103, 104]


def test_shards_that_appear_are_followed_and_kept_ones_never_trained(tmp_path: Path) -> None:
    data = folder(tmp_path, sequences=KEEP + 1)
    before = len(data.train)
    write_shard(tmp_path, 1, sequences=KEEP + 1, top=3)
    assert data.refresh(1) == 1
    assert len(data.train) == before
    assert data.refresh() == 2
    assert len(data.train) == 2 * before == 2 * (KEEP - 1)
    assert not {s.name for s in data.kept} & {s.name for s in data.train}
    assert all(s.held_out for s in data.kept)


def test_the_first_so_many_tokens_are_taken_whatever_comes_later(tmp_path: Path) -> None:
    data = folder(tmp_path, max_tokens=200)
    assert 200 <= data.tokens < 241
    kept, taken = len(data.kept), list(data.train)
    write_shard(tmp_path, 1, top=3)
    data.refresh()
    assert data.train == taken
    assert len(data.kept) > kept


def test_shards_are_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN", 2)
    for number in range(5):
        write_shard(tmp_path, number, top=3)
    data = FeatureFolder(tmp_path, 2)
    assert {s.shard for s in data.train} == set(range(5))
    assert all(len(data.rows(s)["tokens"]) == s.end - s.start for s in data.train)
    assert len(data._open) == 2


def test_padded_sequences_are_whole(tmp_path: Path) -> None:
    data = folder(tmp_path)
    chosen = data.train[:3]
    padded = data.collate(chosen)
    for row, s in enumerate(chosen):
        size = s.end - s.start
        assert padded.lengths[row] == size
        assert torch.equal(padded.hidden[row, :size], data.rows(s)["hidden"])
        assert not padded.hidden[row, size:].any()


def test_answers_count_more_than_prompts(tmp_path: Path) -> None:
    data = folder(tmp_path)
    counts = data.answer_counts(50)
    answers = sum(s.end - s.start - 8 for s in data.train)
    assert float(counts.sum()) == pytest.approx(answers + 8e-3 * len(data.train))


def test_a_folder_without_features_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make features first") as caught:
        FeatureFolder(tmp_path, prompt_tail=0)
    assert "\n" not in str(caught.value)
