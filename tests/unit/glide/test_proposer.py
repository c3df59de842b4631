"""The proposer's trees against the formula, written out row by row without caches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from proposers.base import DraftContext, TargetShape
from proposers.glide.config import GlideConfig
from proposers.glide.proposer import GlideProposer
from proposers.tree import DraftTrees, prune
from tests.unit.proposers.contexts import first_trees, of_texts, texts_of

from .tiny import DIM, HEADS, HIDDEN, KV_HEADS, VOCAB, DenseKV, tiny_draft, tiny_state, tiny_target


def rope(x: Tensor, position: int, theta: float = 1000.0) -> Tensor:
    angles = position / theta ** (torch.arange(0, DIM, 2) / DIM)
    cos, sin = angles.cos().repeat(2), angles.sin().repeat(2)
    half = DIM // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def plain_block(
    w: dict[str, Tensor], eps: float, h: Tensor, window: Tensor, first: int, target: DenseKV
) -> Tensor:
    """One block at the last token of ``window``, embeddings from position ``first`` on."""
    at = first + len(window) - 1

    def norm(x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, (HIDDEN,), w[f"{name}.weight"], eps)

    def project(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    normed = norm(window, "input_layernorm")
    keys = project(normed, "self_attn.k_proj").view(-1, KV_HEADS, DIM)
    keys = torch.stack([rope(k, first + i) for i, k in enumerate(keys)])
    values = project(normed, "self_attn.v_proj").view(-1, KV_HEADS, DIM)
    q = project(norm(h, "input_layernorm"), "self_attn.q_proj").view(HEADS, DIM)
    own = DenseKV([keys], [values]).attend(rope(q, at)[None, None])[0, 0]
    a = h + project(own.flatten(), "self_attn.o_proj")
    q = project(norm(a, "post_self_attention_layernorm"), "cross_attn.q_proj").view(HEADS, DIM)
    seen = target.attend(rope(q, at)[None, None])[0, 0]
    b = a + project(seen.flatten(), "cross_attn.o_proj")
    m = norm(b, "post_cross_attention_layernorm")
    gated = F.silu(project(m, "mlp.gate_proj")) * project(m, "mlp.up_proj")
    return b + project(gated, "mlp.down_proj")


def plain_row(
    config: GlideConfig, text: list[int], state: Tensor, kv: DenseKV, request: int
) -> Tensor:
    """Log-probabilities after ``text`` (verified tokens and the path), straight from the paper."""
    w, target, eps = tiny_state(config), tiny_target(), config.target.rms_norm_eps
    at = len(text) - 1
    embed = target.embedding[torch.tensor(text)]

    y = embed[-1]
    if config.hidden_state_input:
        both = [F.rms_norm(v, (HIDDEN,), eps=eps) for v in (y, state)]
        y = y + F.linear(torch.cat(both), w["hidden_proj.weight"])
    first = max(0, at - config.window)
    one = DenseKV([kv.keys[request]], [kv.values[request]])
    for prefix in ("", "more.0.")[: config.num_layers]:
        weights = {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}
        y = plain_block(weights, eps, y, embed[first:], first, one)
    if config.final_norm:
        y = F.rms_norm(y, (HIDDEN,), target.final_norm, eps)
    head = target.head
    if config.draft_vocab_size is not None:
        head = head[w["draft_vocab"]]
    return (F.linear(y, head) / config.temperature).log_softmax(-1)


def context(lengths: list[int], seed: int, budget: int = 128) -> DraftContext:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randint(0, VOCAB, (n,), generator=generator).tolist() for n in lengths]
    shape = (KV_HEADS, DIM)
    keys = [torch.randn(n - 1, *shape, generator=generator) for n in lengths]
    values = [torch.randn(n - 1, *shape, generator=generator) for n in lengths]
    hidden = torch.randn(len(lengths), HIDDEN, generator=generator)
    return replace(
        of_texts(tokens, budget, junk=VOCAB - 1),
        hidden_states=hidden,
        target_kv=DenseKV(keys, values),
    )


def bound(folder: Path, options: dict[str, object]) -> GlideProposer:
    proposer = GlideProposer(folder, options)
    proposer.bind(tiny_target())
    return proposer


VARIANTS = [
    {},
    {"hidden_state_input": False, "final_norm": False, "attention_bias": True},
    {"draft_vocab_size": None, "window": 3},
    {"num_layers": 2, "window": 5, "temperature": 3.0},
]


@pytest.fixture(scope="module", params=range(len(VARIANTS)))
def draft(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft")
    tiny_draft(folder, **VARIANTS[request.param])
    return folder


@settings(max_examples=8)
@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=3),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_tree_scores_are_the_formulas(
    draft: Path, lengths: list[int], shape: list[int], seed: int
) -> None:
    asked = context(lengths, seed)
    proposer = bound(draft, {"tree_shape": shape})
    trees = first_trees(proposer, asked)
    vocabulary = tiny_state(proposer.config).get("draft_vocab", torch.arange(VOCAB)).tolist()
    for b, tokens in enumerate(texts_of(asked)):
        paths: list[list[int]] = []
        expected: list[float] = []
        assert asked.hidden_states is not None
        for token, parent in zip(trees.tokens[b].tolist(), trees.parents[b].tolist(), strict=True):
            above = paths[parent] if parent >= 0 else []
            row = plain_row(
                proposer.config,
                tokens + above,
                asked.hidden_states[b],
                asked.target_kv,  # type: ignore[arg-type]
                b,
            )
            score = float(row[vocabulary.index(token)])
            expected.append(score + (expected[parent] if parent >= 0 else 0.0))
            paths.append([*above, token])
        assert trees.log_probs[b].tolist() == pytest.approx(expected, abs=2e-4)


def test_window_kept_over_steps_equals_a_fresh_one(draft: Path) -> None:
    proposer = bound(draft, {"tree_shape": [3, 2]})
    whole = context([45, 30], seed=3)
    last = torch.zeros_like(whole.lengths)
    for cut in (44, 41, 40, 37, 20, 19, 3, 0):  # growing text, steps of several sizes
        lengths = (whole.lengths - cut).clamp(min=2)
        new = lengths - last
        part = replace(whole, lengths=lengths, num_new=new, most_new=int(new.max()))
        if cut == 44:
            proposer.start(part)
        kept, last = proposer.propose(part), lengths
    fresh = first_trees(bound(draft, {"tree_shape": [3, 2]}), whole)
    assert torch.equal(kept.tokens, fresh.tokens)
    torch.testing.assert_close(kept.log_probs, fresh.log_probs)


@pytest.mark.parametrize("again", [True, False])
def test_after_a_pause_trees_are_as_if_there_had_been_none(draft: Path, again: bool) -> None:
    """Tokens came that were not drafted: told of them or started again, windows are the same."""
    whole = context([45, 30], seed=3)
    early = torch.tensor([20, 18])
    proposer = bound(draft, {"tree_shape": [3, 2]})
    first_trees(proposer, replace(whole, lengths=early))
    missed = whole.lengths - early
    resumed = replace(whole, num_new=missed, most_new=int(missed.max()))
    found = first_trees(proposer, whole) if again else proposer.propose(resumed)
    fresh = first_trees(bound(draft, {"tree_shape": [3, 2]}), whole)
    assert torch.equal(found.tokens, fresh.tokens)
    torch.testing.assert_close(found.log_probs, fresh.log_probs)
    forgotten = bound(draft, {"tree_shape": [3, 2]})
    first_trees(forgotten, replace(whole, lengths=early))
    stale = forgotten.propose(replace(whole, num_new=torch.tensor([1, 1]), most_new=1))
    assert not torch.equal(stale.log_probs, fresh.log_probs)


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_small_budgets_spare_forwards_and_keep_the_likeliest(draft: Path, budget: int) -> None:
    asked, shape = context([30, 12], seed=4), {"tree_shape": [3, 3, 2, 1], "nodes": 8}
    few = replace(asked, budgets=torch.full((2,), budget))
    whole = first_trees(bound(draft, shape), asked)
    proposer = bound(draft, shape)
    found = first_trees(proposer, few)
    expected = prune(whole, few.budgets)
    assert found.token_lists() == expected.token_lists()
    if budget == 1:
        assert proposer.grown(few).levels == 1


def test_requests_do_not_see_each_other(draft: Path) -> None:
    both = context([33, 12], seed=5)
    together = first_trees(bound(draft, {"tree_shape": [4, 3, 2]}), both)
    for b in range(2):
        kv = both.target_kv
        assert isinstance(kv, DenseKV)
        alone = replace(both.part([b]), target_kv=DenseKV([kv.keys[b]], [kv.values[b]]))
        single = first_trees(bound(draft, {"tree_shape": [4, 3, 2]}), alone)
        assert torch.equal(single.tokens[0], together.tokens[b])


def test_budget_and_probability_floor(draft: Path) -> None:
    asked = context([20, 20], seed=7, budget=3)
    trees = first_trees(bound(draft, {"tree_shape": [4, 4]}), asked)
    assert trees.sizes.tolist() == [3, 3]
    wide = context([20, 20], seed=7)
    floor = {"tree_shape": [4, 4], "min_probability": 0.2}
    trees = first_trees(bound(draft, floor), wide)
    kept = trees.log_probs[trees.valid()]
    assert bool((kept >= np.log(0.2)).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tree_shape": [200]}, "200 nodes; at most 128"),
        ({"shape": [4]}, r"shape=\[4\] is unknown to proposer 'glide'"),
        ({"min_probability": 1.5}, "min_probability=1.5"),
        ({"min_probability": "low"}, "min_probability='low'"),
        ({"nodes": 0}, "nodes=0: allowed are whole numbers from 1 to 128"),
        ({"nodes": 129}, "nodes=129"),
        ({"nodes": 2.5}, "nodes=2.5"),
        ({"nodes": 16, "tree_shape": [2000]}, "2000 nodes; at most 1024"),
        ({"temperature": 0}, "temperature=0: allowed are numbers above 0"),
        ({"temperature": "warm"}, "temperature='warm'"),
    ],
)
def test_bad_options(draft: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlideProposer(draft, options)


def test_another_target_is_refused(draft: Path) -> None:
    proposer = GlideProposer(draft, {})
    with pytest.raises(ValueError, match=r"vocab_size=60, this one has 61; serve tiny"):
        proposer.check_target(TargetShape(61, HIDDEN, HEADS, KV_HEADS, DIM, 512))


def test_a_draft_is_needed() -> None:
    with pytest.raises(ValueError, match=r'as "model" \(vLLM\)'):
        GlideProposer(None, {})


def paths(trees: DraftTrees, b: int) -> dict[tuple[int, ...], float]:
    """The scores of all paths of a tree."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(
        *(part[b].tolist() for part in (trees.tokens, trees.parents)), strict=True
    ):
        found.append((*(found[parent] if parent >= 0 else ()), token))
    scores = trees.log_probs[b].tolist()
    return dict(list(zip(found, scores, strict=True))[: int(trees.sizes[b])])


@pytest.mark.parametrize("nodes", [1, 3, 7, 20])
def test_only_the_likeliest_paths_are_kept(draft: Path, nodes: int) -> None:
    asked, shape = context([30, 12, 5], seed=4), [4, 5, 3, 2]
    whole = first_trees(bound(draft, {"tree_shape": shape}), asked)
    proposer = bound(draft, {"tree_shape": shape, "nodes": nodes})
    kept = first_trees(proposer, asked)
    assert proposer.max_nodes == min(nodes, sum(shape)) == int(kept.sizes.max())
    assert proposer.max_depth == min(nodes, len(shape))
    for b in range(3):
        best = sorted(paths(whole, b).values(), reverse=True)[:nodes]
        chosen = paths(kept, b)
        assert sorted(chosen.values(), reverse=True) == pytest.approx(best, abs=1e-4)
        assert all(path[:-1] in chosen for path in chosen if len(path) > 1)


def test_forwards_that_cannot_matter_are_not_made(draft: Path) -> None:
    """At nearly even odds five of six first tokens beat any pair, which the second level shows."""
    proposer = bound(draft, {"tree_shape": [6, 1, 1, 1, 1], "nodes": 5, "temperature": 1e3})
    calls: list[int] = []
    best = proposer.model.best

    def counted(*args: object) -> object:
        calls.append(1)
        return best(*args)  # type: ignore[arg-type]

    proposer.model.best = counted  # type: ignore[assignment, method-assign]
    first_trees(proposer, context([20], seed=1))
    assert len(calls) == 2


def test_temperature_flattens_and_keeps_the_order(draft: Path) -> None:
    asked = context([30], seed=4)
    own = first_trees(bound(draft, {"tree_shape": [5], "temperature": 1.0}), asked)
    warm = first_trees(bound(draft, {"tree_shape": [5], "temperature": 4.0}), asked)
    assert torch.equal(own.tokens, warm.tokens)
    falls = own.log_probs[:, :-1] - own.log_probs[:, 1:]
    torch.testing.assert_close(warm.log_probs[:, :-1] - warm.log_probs[:, 1:], falls / 4)


GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("number", range(3))
def test_one_layer_drafts_propose_what_they_always_did(tmp_path: Path, number: int) -> None:
    """Trees stored before there were two layers, budgets and temperatures."""
    tiny_draft(tmp_path, **VARIANTS[number])
    trees = first_trees(bound(tmp_path, {"tree_shape": [3, 3, 2]}), context([21, 9], seed=11))
    stored = json.loads(GOLDEN.read_text())[number]
    assert trees.tokens.tolist() == stored["tokens"]
    assert trees.parents.tolist() == stored["parents"]
    torch.testing.assert_close(trees.log_probs, torch.tensor(stored["scores"]))
