"""The native forwards of a draft against the same draft by PyTorch's operators.

Those are compared with the formula in test_proposer.py, whose sizes the kernel does not take.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from proposers import native
from proposers.base import DraftContext, TargetModel, TargetShape
from proposers.glide.checkpoint import save_glide
from proposers.glide.native import SOURCE, NativeGlide
from proposers.glide.proposer import GlideProposer
from proposers.native.int8 import in_bytes
from proposers.sharding import WHOLE, Shard
from proposers.tree import DraftTrees
from tests.unit.proposers.contexts import first_trees, of_texts

from .tiny import HEADS, KV_HEADS, VOCAB, DenseKV, tiny_config, tiny_state

HIDDEN, DIM = 64, 16
SIZES = {"hidden_size": HIDDEN, "intermediate_size": 96, "head_dim": DIM}
TARGET = tiny_config().target.model_copy(update=SIZES)
VARIANTS = [
    {"draft_vocab_size": 39},
    {"hidden_state_input": False, "final_norm": False, "attention_bias": True},
    {"draft_vocab_size": None, "window": 3},
    {"num_layers": 2, "window": 5, "temperature": 3.0, "draft_vocab_size": 21},
]


@pytest.fixture
def any_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel takes as many rows as there are, which is slow and not wrong."""
    monkeypatch.setattr(NativeGlide, "most_rows", 1000)


@pytest.fixture(params=range(len(VARIANTS)))
def draft(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    config = tiny_config(target=TARGET, **VARIANTS[request.param])
    save_glide(tmp_path, config, tiny_state(config))
    return tmp_path


@pytest.fixture
def one_draft(tmp_path: Path) -> Path:
    config = tiny_config(target=TARGET)
    save_glide(tmp_path, config, tiny_state(config))
    return tmp_path


def bound(
    folder: Path,
    kernel: bool,
    shape: list[int],
    dtype: torch.dtype,
    int8: bool | None = False,
) -> GlideProposer:
    generator = torch.Generator().manual_seed(1)
    embedding = torch.randn(VOCAB, HIDDEN, generator=generator).to(dtype)
    norm = 1 + 0.1 * torch.randn(HIDDEN, generator=generator).to(dtype)
    sizes = TargetShape(VOCAB, HIDDEN, HEADS, KV_HEADS, DIM, 512)
    proposer = GlideProposer(folder, {"tree_shape": shape, "int8": int8})
    proposer.bind(TargetModel(sizes, embedding, embedding, norm))
    assert proposer.model.quick is not None, "no C++ compiler: there is nothing to compare"
    if not kernel:
        proposer.model.quick = proposer.window.filler = None
    return proposer


def contexts(lengths: list[int], dtype: torch.dtype) -> list[DraftContext]:
    """Growing texts of the same requests, by steps of several sizes."""
    generator = torch.Generator().manual_seed(2)
    tokens = [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in lengths]
    shape = (KV_HEADS, DIM)
    keys, values = (
        [torch.randn(n, *shape, generator=generator).to(dtype) for n in lengths] for _ in range(2)
    )
    hidden = torch.randn(len(lengths), HIDDEN, generator=generator).to(dtype)
    found: list[DraftContext] = []
    last = [0] * len(lengths)
    for cut in (25, 4, 3, 0):
        ends = [max(n - cut, 2) - 1 for n in lengths]
        known = [t[: n + 1] for t, n in zip(tokens, ends, strict=True)]
        new = [n - before for n, before in zip(ends, last, strict=True)]
        kv = DenseKV(*([p[:n] for p, n in zip(part, ends, strict=True)] for part in (keys, values)))
        one = of_texts(known, 128, new)
        found.append(replace(one, hidden_states=hidden, target_kv=kv))
        last = ends
    return found


def proposed(
    folder: Path,
    kernel: bool,
    shape: list[int],
    lengths: list[int],
    dtype: torch.dtype,
    int8: bool | None = False,
) -> list[DraftTrees]:
    proposer = bound(folder, kernel, shape, dtype, int8)
    first, *more = contexts(lengths, dtype)
    return [first_trees(proposer, first), *(proposer.propose(context) for context in more)]


@pytest.mark.usefixtures("any_rows")
@pytest.mark.parametrize("lengths", [[44], [30, 2, 41]])
@pytest.mark.parametrize("shape", [[3], [4, 3, 5, 2]])
def test_trees_are_those_of_the_operators(
    draft: Path, shape: list[int], lengths: list[int]
) -> None:
    pairs = zip(
        *(proposed(draft, kernel, shape, lengths, torch.float32) for kernel in (True, False)),
        strict=True,
    )
    for mine, theirs in pairs:
        assert torch.equal(mine.tokens, theirs.tokens)
        assert torch.equal(mine.parents, theirs.parents)
        torch.testing.assert_close(mine.log_probs, theirs.log_probs, atol=2e-4, rtol=1e-4)


@pytest.mark.usefixtures("any_rows")
def test_stored_in_bfloat16_it_computes_in_float32(one_draft: Path) -> None:
    """Its scores are nearer to those of all float32 than the operators' are, on the average."""
    shape, lengths, errors = [5], [30, 2, 41], []
    exact = proposed(one_draft, False, [39], lengths, torch.float32)
    for kernel in (True, False):
        wrong = []
        for trees, truth in zip(
            proposed(one_draft, kernel, shape, lengths, torch.bfloat16), exact, strict=True
        ):
            place = (trees.tokens[:, :, None] == truth.tokens[:, None]).int().argmax(-1)
            wrong.append((trees.log_probs - truth.log_probs.gather(1, place)).abs().mean())
        errors.append(float(torch.stack(wrong).mean()))
    assert errors[0] < errors[1] < 0.5


@pytest.mark.parametrize("lengths", [[44], [30, 2, 41], list(range(3, 36))])
def test_in_bytes_scores_are_near_those_of_floats(draft: Path, lengths: list[int]) -> None:
    """Rows of one to over eight; weights whose sizes bytes do not fit stay as they are."""
    exact, rounded = (
        proposed(draft, kernel, [39], lengths, torch.float32, int8)
        for kernel, int8 in ((False, None), (True, True))
    )
    wrong, known = [], []
    for trees, truth in zip(rounded, exact, strict=True):
        same = trees.tokens[:, :, None] == truth.tokens[:, None]
        known.append(same.any(-1))  # of the least likely some are others
        errors = trees.log_probs - truth.log_probs.gather(1, same.int().argmax(-1))
        wrong.append(errors.abs()[known[-1]])
    errors, spread = torch.cat(wrong), exact[0].log_probs.std()
    print(f"errors {errors.mean():.4f}, most {errors.max():.4f}; scores vary by {spread:.3f}")
    assert 1e-4 < float(errors.mean()) < 0.05 * spread
    assert float(errors.max()) < 0.1 * spread
    assert float(torch.cat(known).float().mean()) > 0.98


def test_weights_in_bytes_are_those_that_were_given() -> None:
    weight = torch.randn(32, 24, generator=torch.Generator().manual_seed(0))
    packed, scales = in_bytes(weight)
    assert packed.shape == (2, 6, 16, 4)
    back = (packed.transpose(1, 2).reshape(32, 24).float() - 128) * scales[:, None]
    assert float((back - weight).abs().max()) <= float(scales.max()) / 2 + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_are_the_default_where_they_are_multiplied(
    one_draft: Path, dtype: torch.dtype
) -> None:
    library = native.library(SOURCE)
    assert library is not None
    quick = bound(one_draft, True, [2], dtype, None).model.quick
    assert isinstance(quick, NativeGlide)
    assert quick.in_bytes == bool(library.glide_int8())


def test_many_rows_and_static_steps_are_left_to_the_operators(
    one_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = NativeGlide.forward
    monkeypatch.setattr(NativeGlide, "forward", lambda *given: calls.append(1) or forward(*given))
    proposed(one_draft, True, [2, 4, 2], [30], torch.float32)
    assert len(calls) == 4 * 3
    proposed(one_draft, True, [2, 5, 2], [30], torch.float32)
    static = replace(contexts([30], torch.float32)[0], static=True)
    first_trees(bound(one_draft, True, [2, 4, 2], torch.float32), static)
    assert len(calls) == 4 * 3


@pytest.mark.usefixtures("any_rows")
def test_other_weights_give_other_scores(one_draft: Path) -> None:
    """The control of the comparison: each matrix that the kernel was given matters to it."""
    context = contexts([30], torch.float32)[0]
    before = first_trees(bound(one_draft, True, [3, 2], torch.float32), context)
    count = len(_kept(bound(one_draft, True, [3, 2], torch.float32)))
    for index in range(count):
        proposer = bound(one_draft, True, [3, 2], torch.float32)
        _kept(proposer)[index].mul_(-1.5)
        after = first_trees(proposer, context)
        same = torch.equal(after.tokens, before.tokens)
        assert not same or not torch.allclose(after.log_probs, before.log_probs, atol=1e-3), index


def _kept(proposer: GlideProposer) -> list[torch.Tensor]:
    assert proposer.model.quick is not None
    return proposer.model.quick.kept


def test_without_a_compiler_or_with_odd_sizes_there_is_none(
    one_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposer = bound(one_draft, True, [3], torch.float32)
    parts = (proposer.config, proposer.model.layer, proposer.model.embedding)
    head, rotary = proposer.model.embedding, proposer.model.rotary
    odd = TARGET.model_copy(update={"head_dim": 8})
    other = parts[0].model_copy(update={"target": odd})
    assert NativeGlide.of(other, *parts[1:], head, rotary, WHOLE) is None
    assert NativeGlide.of(*parts[:2], head.half(), head.half(), rotary, WHOLE) is None
    assert NativeGlide.of(*parts, head, rotary, Shard(0, 2)) is None
    native.library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", "")
    try:
        assert native.library(SOURCE) is None
    finally:
        native.library.cache_clear()
