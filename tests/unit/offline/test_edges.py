"""Ends of rows and of positions, counting, other devices' dtypes, proposers of one's own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from proposers import LlamaGlide
from proposers.prompt_lookup import PromptLookupProposer

from .conftest import ModelMaker
from .oracle import Oracle, everything_accepted, joined
from .tiny import ragged_prompts, tiny_target

WIDE = [16, 32, 32]


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_every_path_accepted(make_model: ModelMaker, depth: int) -> None:
    """The same output, and counts that can be worked out by hand."""
    model = make_model()
    ids, lengths = ragged_prompts(4, seed=11)
    free = model.vanilla_generate(ids, lengths, 30, eos_id=99)[0]
    oracle = Oracle(joined(ids, lengths, free), depth)
    decoded = model.decode(oracle, ids, lengths, 30, eos_id=99)
    assert torch.equal(decoded.output_ids, free)
    count, num = everything_accepted(depth, 30)
    assert decoded.accepted.tolist() == [count] * 4
    assert decoded.steps.tolist() == [num] * 4
    assert decoded.spec_mask.sum(1).tolist() == [count] * 4


def test_eos_inside_an_accepted_path(make_model: ModelMaker) -> None:
    """Nothing behind it is emitted or counted, wherever on the path it lies."""
    model = make_model()
    ids, lengths = ragged_prompts(4, seed=11)
    free = model.vanilla_generate(ids, lengths, 30, eos_id=99)[0]
    oracle = Oracle(joined(ids, lengths, free), 6)
    cuts = {(row, free[row].tolist().index(t)) for row in range(4) for t in free[row].tolist()}
    inside = [(row, at) for row, at in cuts if at % 7 not in (0,) and 0 < at < 28]
    assert len({at % 7 for _, at in inside}) == 6  # first, ..., last node of a path
    for row, at in inside:
        eos = int(free[row, at])
        one = model.decode(oracle, ids[row : row + 1], lengths[row], 30, eos_id=eos)
        assert one.output_ids[0].tolist() == free[row, : at + 1].tolist() + [eos] * (29 - at)
        assert not one.spec_mask[0, at + 1 :].any()
        assert int(one.accepted) == int(one.spec_mask.sum()) == at - at // 7
        assert int(one.steps) == at // 7 + 1


def test_first_token_may_be_the_pad_token_or_eos(make_model: ModelMaker) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(6, seed=5)
    first = model.vanilla_generate(ids, lengths, 1)[0][:, 0]
    for token in first.unique().tolist():
        model.target.model.config.pad_token_id = token  # must not matter
        vanilla = model.vanilla_generate(ids, lengths, 12, eos_id=63)[0]
        assert torch.equal(model.tree_spec_generate(ids, lengths, WIDE, 12, eos_id=63)[0], vanilla)
        ends = model.tree_spec_generate(ids, lengths, WIDE, 12, eos_id=[63, token])[0]
        assert (ends[first == token, 0] == token).all()
        assert (ends[first == token, 1:] == 63).all()  # padded with the first EOS given


def test_one_token(make_model: ModelMaker) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(3, seed=2)
    vanilla, forwards, seconds = model.vanilla_generate(ids, lengths, 1)
    out, count, num, _, spec = model.tree_spec_generate(ids, lengths, None, 1)
    assert torch.equal(out, vanilla)
    assert (forwards, count, num, int(spec.sum())) == (0, 0, 0, 0)
    assert 0 <= seconds < 5
    assert math.isnan(model.decode(None, ids, lengths, 1).acceptance_length)


def test_counts_mean_the_same_in_all_three(make_model: ModelMaker) -> None:
    """Without an EOS every row has ``1 + num + count`` tokens, but for cuts at the limit."""
    model = make_model()
    ids, _ = ragged_prompts(1, seed=4)
    _, forwards, _ = model.vanilla_generate(ids, 9, 40, eos_id=99)
    assert forwards == 39
    for generate in (model.spec_generate, model.tree_spec_generate):
        out, count, num, _, spec = generate(ids, 9, max_gen_len=40, eos_id=99)
        assert out.shape == spec.shape == (1, 40)
        assert 1 + num + count == 40
        assert int(spec.sum()) == count


def test_counts_by_depth(make_model: ModelMaker) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(8, seed=4)
    decoded = model.decode(model.tree_proposer(WIDE), ids, lengths, 30, eos_id=7)
    assert sum(decoded.accepted_at) == int(decoded.accepted.sum())
    assert decoded.accepted_at == sorted(decoded.accepted_at, reverse=True)
    assert decoded.lengths.tolist() == [_length(row.tolist()) for row in decoded.output_ids]


def _length(row: list[int]) -> int:
    return row.index(7) + 1 if 7 in row else len(row)


def test_rows_do_not_see_each_other(make_model: ModelMaker) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(8, seed=21)
    together = model.tree_spec_generate(ids, lengths, [4, 8], 20, eos_id=[5, 9, 30])[0]
    for row, length in enumerate(lengths):
        one = ids[row : row + 1]
        alone = model.tree_spec_generate(one, length, [4, 8], 20, eos_id=[5, 9, 30])[0]
        assert torch.equal(alone[0], together[row])


def test_up_to_the_last_position(make_model: ModelMaker) -> None:
    model = make_model()
    ids = torch.randint(3, 64, (1, 490))
    vanilla = model.vanilla_generate(ids, 490, 22, eos_id=99)[0]
    assert torch.equal(model.tree_spec_generate(ids, 490, WIDE, 22, eos_id=99)[0], vanilla)
    with pytest.raises(ValueError, match=r"490 prompt tokens and max_gen_len=23 pass .* 512"):
        model.tree_spec_generate(ids, 490, WIDE, 23)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_stays_near(make_model: ModelMaker, dtype: torch.dtype) -> None:
    model = make_model(dtype=dtype)
    ids, lengths = ragged_prompts(4, seed=1)
    out, count, num, _, _ = model.tree_spec_generate(ids, lengths, WIDE, 16, eos_id=99)
    exact = make_model().vanilla_generate(ids, lengths, 16, eos_id=99)[0]
    assert out.shape == exact.shape
    assert count + num >= 15 * 4
    assert (out[:, 0] == exact[:, 0]).float().mean() >= 0.5


def test_the_proposer_that_servers_use(make_model: ModelMaker) -> None:
    defaults = {"proposer": "glide_lookup", "tree_shape": [2, 2], "min_probability": 0.01}
    model = make_model(draft={"longspec_config": _Frozen(defaults)})
    ids, lengths = ragged_prompts(4, seed=8)
    decoded = model.decode(model.served_proposer(), ids, lengths, 30, eos_id=99)
    assert type(model.served_proposer()).__name__ == "GlideLookupProposer"
    assert torch.equal(decoded.output_ids, model.vanilla_generate(ids, lengths, 30, eos_id=99)[0])
    bare = make_model().served_proposer()
    assert bare.max_nodes == 11


class _Frozen(dict[str, object]):
    """Options as a part of a cache's key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def test_any_bound_proposer(make_model: ModelMaker) -> None:
    model = make_model()
    lookup = model.bind(PromptLookupProposer(None, {"tree_shape": [2, 2, 2], "min_ngram": 1}))
    ids, lengths = ragged_prompts(4, seed=8)
    decoded = model.decode(lookup, ids, lengths, 60, eos_id=99)
    assert torch.equal(decoded.output_ids, model.vanilla_generate(ids, lengths, 60, eos_id=99)[0])
    assert decoded.acceptance_length > 1  # what a random model says repeats itself


def test_a_target_alone(tmp_path: Path) -> None:
    tiny_target(tmp_path)
    ids, lengths = ragged_prompts(2, seed=1)
    model = LlamaGlide(None, tmp_path, None, device="cpu")
    free = model.vanilla_generate(ids, lengths, 12, eos_id=99)[0]
    found = model.decode(model.bind(PromptLookupProposer(None, {})), ids, lengths, 12, eos_id=99)
    assert torch.equal(found.output_ids, free)
    for call in (model.tree_spec_generate, model.spec_generate):
        with pytest.raises(ValueError, match="there is no draft; give its folder as glide_path"):
            call(ids, lengths)


def test_numpy_numbers_are_numbers(make_model: ModelMaker) -> None:
    model = make_model()
    ids, lengths = ragged_prompts(2, seed=1)
    chain = model.spec_generate(ids, lengths, 2, 9, 63)
    of = [np.int64(2), np.int32(9), np.uint8(63)]
    assert torch.equal(model.spec_generate(ids, np.array(lengths), *of)[0], chain[0])
    assert torch.equal(model.spec_generate(ids, lengths, of[0], of[1], np.array([63]))[0], chain[0])
    tree = model.tree_spec_generate(ids[:1], np.int64(lengths[0]), np.array([2, 2]), np.int64(9))
    assert tree[0].shape == (1, 9)
    heat = model.tree_spec_generate(ids, lengths, (np.int64(2),), 9, temperature=np.float32(0.5))
    assert heat[0].shape == (2, 9)
    with pytest.raises(ValueError, match="max_gen_len=np"):
        model.vanilla_generate(ids, lengths, np.float64(9))


@pytest.mark.parametrize("gamma", [1, 3])
def test_one_new_token(make_model: ModelMaker, gamma: int) -> None:
    """It is the prefill's: no step, nothing accepted."""
    model = make_model()
    ids, lengths = ragged_prompts(3, seed=2)
    free, steps, _ = model.vanilla_generate(ids, lengths, 1)
    assert steps == 0
    for found in (
        model.spec_generate(ids, lengths, gamma, 1),
        model.tree_spec_generate(ids, lengths, [2] * gamma, 1),
    ):
        assert torch.equal(found[0], free)
        assert found[1:3] == (0, 0)
