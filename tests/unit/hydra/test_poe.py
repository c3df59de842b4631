"""PoE decoding: exact in every option, with counts that add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from proposers.hydra import HydraTransformer, PoE, PoEOutput
from proposers.hydra import poe as poe_module
from proposers.hydra.rule import Verdict

from .tiny import PROMPT, Script, distance, enumerate_all, joint, tiny_hydra

WAYS = [(rule, trunk) for rule in ("original", "bonus") for trunk in ("drafted", "verified")]
ALL_WAYS = pytest.mark.parametrize(("rule", "trunk"), WAYS)


def enumerated(hydra: HydraTransformer, **options: Any) -> dict[tuple[int, ...], float]:
    """The distribution of answers, over every draft, acceptance and draw."""
    decoder = PoE(hydra, **options)

    def run(script: Script) -> tuple[int, ...]:
        decoder.chance = script
        return tuple(decoder.generate(PROMPT).tokens)

    return enumerate_all(run)


@ALL_WAYS
@pytest.mark.parametrize(
    ("vocabulary", "tokens", "gamma"), [(2, 4, 2), (3, 3, 2), (8, 2, 1)], ids=str
)
def test_answers_are_distributed_as_the_product(
    rule: Any, trunk: Any, vocabulary: int, tokens: int, gamma: int
) -> None:
    hydra = tiny_hydra(3, vocab_size=vocabulary)
    options: dict[str, Any] = {"beta": 0.7, "temperature": 1.3}
    found = enumerated(
        hydra, **options, gamma=gamma, max_new_tokens=tokens, draft_head=1, rule=rule, trunk=trunk
    )
    assert distance(found, joint(hydra, [0, 2], **options, tokens=tokens)) < 1e-9


def test_accepting_always_and_a_bonus_of_the_wrong_place_are_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hydra = tiny_hydra(3, vocab_size=3)
    expected = joint(hydra, [1, 2], 0.7, 1.3, 3)
    options: dict[str, Any] = {"beta": 0.7, "temperature": 1.3, "max_new_tokens": 3}
    with monkeypatch.context() as patch:
        patch.setattr(Script, "accepted", lambda self, ratios: len(ratios))
        assert distance(enumerated(hydra, **options, gamma=2), expected) > 0.05

    def stale(drafted: Any, q: Any, p: Any, chance: Any) -> Verdict:
        return real(drafted, q, torch.cat([p[:-1], p[-2:-1]]) if len(p) > 1 else p, chance)

    real = poe_module.verify
    monkeypatch.setattr(poe_module, "verify", stale)
    found = enumerated(hydra, **options, gamma=1, rule="bonus")
    assert distance(found, expected) > 0.05


@ALL_WAYS
@pytest.mark.parametrize("kind", ["llama", "olmo2"])
def test_identical_heads(rule: Any, trunk: Any, kind: str) -> None:
    """At beta = 1 / (N - 1) the product is the model, and drafts from it are never refused."""
    hydra = tiny_hydra(4, heads="target", kind=kind)
    options: dict[str, Any] = {"gamma": 3, "rule": rule, "trunk": trunk, "max_new_tokens": 24}
    options["temperature"] = 5.0
    whole = PoE(hydra, **options, beta=1 / 3).generate(PROMPT)
    sharp = PoE(hydra, **options, beta=1.0).generate(PROMPT)
    if trunk == "drafted":
        assert whole.acceptance == 1.0
        assert sharp.acceptance < 1.0
    assert len(whole.tokens) == len(sharp.tokens) == 24


def test_identical_heads_give_the_models_distribution() -> None:
    hydra = tiny_hydra(3, heads="target", vocab_size=3)
    found = enumerated(hydra, beta=0.5, gamma=2, max_new_tokens=3, rule="bonus")
    assert distance(found, joint(hydra, [0], 1.0, 1.0, 3)) < 1e-9


@ALL_WAYS
@pytest.mark.parametrize("draft_head", [0, "random"])
def test_counts_and_caches(rule: Any, trunk: Any, draft_head: Any) -> None:
    hydra = tiny_hydra(3)
    decoder = PoE(
        hydra, rule=rule, trunk=trunk, draft_head=draft_head, beta=0.5, temperature=3.0, gamma=3
    )
    seen = [0, 0, 0]
    for length in (1, 2, 3, 4, 5, 20):
        decoder.max_new_tokens = length
        out = decoder.generate(PROMPT)
        assert len(out.tokens) == len(out.resampled_mask) == length
        assert out.accepted + out.resampled + out.bonus == length
        assert sum(out.resampled_mask) == out.resampled
        assert out.accepted <= out.drafted
        assert rule == "bonus" or not out.bonus
        if trunk == "verified":
            assert out.trunk_forwards == out.steps
        seen = [a + b for a, b in zip(seen, (out.accepted, out.resampled, out.bonus), strict=True)]
    assert all(seen[:2])
    assert seen[2] or rule == "original"
    _check_caches(hydra, out)


def _check_caches(hydra: HydraTransformer, out: PoEOutput) -> None:
    """All but the last token, as a fresh run leaves them; a drafter may be a block behind."""
    known = PROMPT.shape[1] + len(out.tokens) - 1
    kept = [(cache.length, cache.storage[..., : cache.length, :].clone()) for cache in hydra.caches]
    assert kept[0][0] == known
    ids = torch.cat([PROMPT, torch.tensor([out.tokens[:-1]], dtype=torch.long)], 1)
    hydra.init_kv_cache(1, known)
    hydra(ids)
    for cache, (length, storage) in zip(hydra.caches, kept, strict=True):
        assert known - 5 <= length <= known
        torch.testing.assert_close(cache.storage[..., :length, :], storage)


@ALL_WAYS
def test_greedy_is_the_products_argmax(rule: Any, trunk: Any) -> None:
    hydra = tiny_hydra(3)
    out = PoE(hydra, rule=rule, trunk=trunk, temperature=0, max_new_tokens=12).generate(PROMPT)
    hydra.drop_kv_cache()
    ids = torch.cat([PROMPT, torch.tensor([out.tokens], dtype=torch.long)], 1)
    best = hydra.residual_forward(ids, [1, 2]).sum(0)[0].argmax(-1)
    assert out.tokens == best[PROMPT.shape[1] - 1 : -1].tolist()


@ALL_WAYS
def test_eos_ends_the_answer_and_its_counts(rule: Any, trunk: Any) -> None:
    hydra = tiny_hydra(3)
    options: dict[str, Any] = {"rule": rule, "trunk": trunk, "temperature": 3.0, "gamma": 5}
    free = PoE(hydra, **options, max_new_tokens=14).generate(PROMPT).tokens
    for eos in sorted(set(free))[:3]:
        out = PoE(hydra, **options, max_new_tokens=14, eos_ids=[eos]).generate(PROMPT)
        assert out.tokens == free[: free.index(eos) + 1]
        assert out.accepted + out.resampled + out.bonus == len(out.tokens)
        assert sum(out.resampled_mask) == out.resampled


def test_a_seed_repeats_and_calls_go_on() -> None:
    hydra = tiny_hydra(3)
    first, again = (PoE(hydra, temperature=5.0, seed=3, max_new_tokens=20) for _ in range(2))
    one = first.generate(PROMPT).tokens
    assert one == again.generate(PROMPT).tokens
    assert one != first.generate(PROMPT).tokens
    hydra.reset_kv_cache()
    hydra(PROMPT)  # caches made in inference mode serve outside of it


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"gamma": 0}, r"gamma=0: expected a whole number of 1 or more"),
        ({"beta": 0}, r"beta=0: expected a positive number; 1 / \(n_heads - 1\)"),
        ({"beta": float("nan")}, r"beta=nan: expected"),
        ({"temperature": -0.5}, r"temperature=-0.5: expected 0 \(greedy\) or a positive"),
        ({"max_new_tokens": 0}, r"max_new_tokens=0: expected"),
        ({"draft_head": 3}, r"draft_head=3: expected 0 to 2, or 'random'"),
        ({"draft_head": "any"}, r"draft_head='any': expected"),
        ({"rule": "best"}, r"rule='best': expected one of original, bonus"),
        ({"trunk": "none"}, r"trunk='none': expected one of drafted, verified"),
    ],
)
def test_bad_options_are_refused_in_one_line(option: dict[str, Any], line: str) -> None:
    hydra = tiny_hydra(3)
    with pytest.raises(ValueError, match=line) as error:
        PoE(hydra, **option)
    assert "\n" not in str(error.value)


def test_bad_calls_are_refused_in_one_line() -> None:
    decoder = PoE(tiny_hydra(3))
    for ids, line in (
        (torch.zeros(2, 3, dtype=torch.long), r"expected \[1, tokens\], got \[2, 3\]"),
        (torch.zeros(1, 3), r"int64 or int32 token ids, got torch.float32"),
        (torch.zeros(1, 33, dtype=torch.long), r"a KV cache of 97 tokens: expected 1 to 96"),
    ):
        with pytest.raises(ValueError, match=line):
            decoder.generate(ids)
    with pytest.raises(ValueError, match=r"needs a tokenizer"):
        decoder.generate_with_cache("hello")
    decoder.gamma = 0
    with pytest.raises(ValueError, match=r"gamma=0"):
        decoder.generate(PROMPT)
