"""Sampling is lossless: three tokens' joint distribution against exact enumeration.

The control is the public reference's rule, which treats the draft's best tokens as if they were
samples of its distribution; it must be told apart by the same test.
"""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from proposers.acceptance import Walk
from proposers.offline.decode import Decoding
from proposers.offline.models import GlideModel
from proposers.tree import DraftTrees

from .conftest import ModelMaker

VOCAB, NEW, SAMPLES, BATCH = 8, 3, 12_000, 2_000
PROMPT = [3, 5, 1, 7]


@pytest.fixture(scope="module")
def model(make_model: ModelMaker) -> GlideModel:
    return make_model(dtype=torch.float32, vocab_size=VOCAB, initializer_range=0.1)


@torch.inference_mode()
def exact_joint(model: GlideModel, temperature: float) -> Tensor:
    """``[V ** 3]`` probabilities of all continuations, one target forward each."""
    pairs = torch.cartesian_prod(torch.arange(VOCAB), torch.arange(VOCAB))
    ids = torch.cat([torch.tensor(PROMPT).expand(len(pairs), -1), pairs], dim=1)
    cache = model.target.new_cache(len(ids), ids.shape[1])
    joint = torch.ones(VOCAB, VOCAB, VOCAB, dtype=torch.float64)
    for known in range(NEW):
        lengths = [len(PROMPT) + known] * len(ids)
        logits, _ = model.target.prefill(ids, lengths, cache)
        p = (logits.double() / temperature).softmax(-1).view(VOCAB, VOCAB, VOCAB)
        joint *= (
            p[:1, 0, :, None, None] if known == 0 else p[:, 0, :, None] if known == 1 else p
        ).reshape(_view(known))
    return joint.flatten()


def _view(known: int) -> tuple[int, int, int]:
    return ((VOCAB, 1, 1), (VOCAB, VOCAB, 1), (VOCAB, VOCAB, VOCAB))[known]


def sampled_counts(model: GlideModel, shape: list[int], temperature: float) -> tuple[Tensor, int]:
    """How often each continuation came, and how many drafted tokens were accepted."""
    ids = torch.tensor(PROMPT).expand(BATCH, -1)
    counts, accepted = torch.zeros(VOCAB**NEW), 0
    for _ in range(SAMPLES // BATCH):
        out, count, *_ = model.tree_spec_generate(
            ids, len(PROMPT), shape, NEW, eos_id=99, temperature=temperature
        )
        cells = (out * torch.tensor([VOCAB**2, VOCAB, 1])).sum(1)
        counts += torch.bincount(cells, minlength=VOCAB**NEW)
        accepted += count
    return counts, accepted


def p_value(counts: Tensor, expected: Tensor) -> float:
    """Chi-square, cells that expect under 8 samples pooled."""
    expected = expected * counts.sum()
    small = expected < 8
    observed = torch.cat([counts[~small], counts[small].sum()[None]])
    hoped = torch.cat([expected[~small], expected[small].sum()[None]])
    return float(chisquare(observed.double(), hoped * observed.sum() / hoped.sum()).pvalue)


@pytest.mark.parametrize(
    ("shape", "temperature"), [([1, 1], 1.0), ([2, 3], 0.6), ([2, 3], 1.0), ([4, 6], 1.7)], ids=str
)
def test_joint_is_the_targets(model: GlideModel, shape: list[int], temperature: float) -> None:
    torch.manual_seed(1)
    counts, accepted = sampled_counts(model, shape, temperature)
    assert accepted > SAMPLES / 50
    assert p_value(counts, exact_joint(model, temperature)) > 1e-4


def test_the_test_sees_another_temperature(model: GlideModel) -> None:
    torch.manual_seed(1)
    counts, _ = sampled_counts(model, [2, 3], 1.0)
    assert p_value(counts, exact_joint(model, 1.25)) < 1e-6


def reference_rule(decoding: Decoding, trees: DraftTrees, logits: Tensor) -> Walk:
    """Accept child x with min(1, p(x) / q(x)), else draw from (p - q)+.

    Right for samples of q, which the draft's best tokens are not.

    q is the draft's distribution over the children, as their cumulative scores tell it.
    """
    batch = trees.batch_size
    tokens = torch.full((batch, NEW), -1)
    rows = torch.full((batch, NEW), -1)
    for b in range(batch):
        row = 0
        for level in range(NEW):
            p = (logits[b, row] / decoding.temperature).softmax(-1)
            token, child = _try_children(trees, b, row, p)
            tokens[b, level], rows[b, level] = token, row
            if child is None:
                break
            row = child + 1
    return Walk(tokens, rows, (tokens >= 0).sum(1) - 1)


def _try_children(trees: DraftTrees, b: int, row: int, p: Tensor) -> tuple[int, int | None]:
    above = float(trees.log_probs[b, row - 1]) if row else 0.0
    for node in range(int(trees.sizes[b])):
        if int(trees.parents[b, node]) != row - 1:
            continue
        x, q = int(trees.tokens[b, node]), torch.zeros_like(p)
        q[x] = float(torch.tensor(float(trees.log_probs[b, node]) - above).exp())
        if float(torch.rand(())) < float(p[x] / q[x]):
            return x, node
        rest = (p - q).clamp(min=0)
        p = rest / rest.sum()
    return int(torch.multinomial(p, 1)), None


def test_the_references_rule_is_told_apart(
    model: GlideModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    monkeypatch.setattr(Decoding, "_accept", reference_rule)
    monkeypatch.setattr("tests.unit.offline.test_sampling.SAMPLES", 4_000)
    counts, _ = sampled_counts(model, [2, 3], 1.0)
    assert p_value(counts, exact_joint(model, 1.0)) < 1e-6
