"""The acceptance rule, on distributions alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from proposers.hydra.rule import distribution, product, product_of_mean, residual, verify

from .tiny import Script, distance, enumerate_all

VOCAB = 8


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def emitted(q: Tensor, p: Tensor) -> dict[tuple[int, ...], float]:
    """What a block of ``len(q)`` drafted tokens emits, padded by draws from P."""

    def run(script: Script) -> tuple[int, ...]:
        drafted = torch.cat([script.token(row) for row in q])
        tokens = verify(drafted, q, p, script).tokens
        while len(tokens) < len(p):
            tokens.append(int(script.token(p[len(tokens)])))
        return tuple(tokens)

    return enumerate_all(run)


def expected(p: Tensor) -> dict[tuple[int, ...], float]:
    """Independent draws from the rows of P."""
    return enumerate_all(lambda script: tuple(int(script.token(row)) for row in p))


@pytest.mark.parametrize("bonus", [False, True])
def test_what_is_emitted_is_distributed_as_the_product(bonus: bool) -> None:
    q = distribution(random_logits(1 if bonus else 2, VOCAB), 1.0)
    p = distribution(random_logits(2, VOCAB, seed=1), 1.0)
    assert distance(emitted(q, p), expected(p)) < 1e-12


def test_accepting_always_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Script, "accepted", lambda self, ratios: len(ratios))
    q, p = distribution(random_logits(1, VOCAB), 1.0), distribution(random_logits(1, VOCAB), 0.5)
    assert distance(emitted(q, p), expected(p)) > 0.1


def test_product_is_its_formula() -> None:
    logits, beta, temperature = random_logits(4, 3, VOCAB), 0.6, 1.7
    total = torch.zeros(3, VOCAB, dtype=torch.float64)
    for head in logits:
        total += torch.log(
            torch.exp(head / temperature) / torch.exp(head / temperature).sum(-1, True)
        )
    by_hand = torch.exp(beta * total)
    by_hand /= by_hand.sum(-1, keepdim=True)
    torch.testing.assert_close(product(logits, beta, temperature), by_hand)
    torch.testing.assert_close(product_of_mean(logits.mean(0), 4, beta, temperature), by_hand)


def test_product_of_one_model_is_the_model() -> None:
    logits = random_logits(1, 5, VOCAB).expand(3, 5, VOCAB)
    torch.testing.assert_close(product(logits, 1 / 3, 0.8), distribution(logits[0], 0.8))
    sharper = product(logits, 1.0, 0.8)
    assert (sharper.max(-1).values > distribution(logits[0], 0.8).max(-1).values).all()


def test_greedy_is_the_limit_of_low_temperatures() -> None:
    logits = random_logits(3, 4, VOCAB)
    torch.testing.assert_close(product(logits, 0.5, 0.0), product(logits, 0.5, 1e-3))
    greedy = product_of_mean(logits.mean(0), 3, 0.5, 0.0)
    assert torch.equal(greedy.argmax(-1), logits.sum(0).argmax(-1))
    assert torch.equal(greedy.sum(-1), torch.ones(4, dtype=torch.float64))


def test_residual() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    torch.testing.assert_close(residual(p, q), torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(residual(p, p), p)  # no mass is left: never nan
