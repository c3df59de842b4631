"""The fused loss against plain formulas: value and gradient, for each option."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from proposers.train.trainer import loss as module
from proposers.train.trainer.loss import NEVER, TREE_WIDTH, Goal, distillation_loss

ROWS, WIDTH, VOCABULARY = 70, 12, 40


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 16)
    torch.manual_seed(0)


def rows_and_head() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, WIDTH, requires_grad=True), torch.randn(VOCABULARY, WIDTH)


def whole(teacher: Tensor, head: Tensor, hard: float) -> Tensor:
    """The goal in float64: the teacher's distribution, mixed with its argmax."""
    logits = (teacher @ head.T).double()
    best = torch.nn.functional.one_hot(logits.argmax(-1), VOCABULARY)
    return logits.softmax(-1) * (1 - hard) + hard * best


def compare(goal: Goal, dense: Tensor, rows: Tensor, head: Tensor, weights: Tensor) -> None:
    """``goal`` against the plain cross-entropy with ``dense`` ``[N, Vd]`` and row weights."""
    total, weight = distillation_loss(rows, head, goal)
    (grad,) = torch.autograd.grad(total / weight, rows)
    log_probs = (rows.double() @ head.double().T).log_softmax(-1)
    plain = (-(dense * log_probs).sum(-1) * weights).sum() / weights.sum()
    (expected,) = torch.autograd.grad(plain, rows)
    torch.testing.assert_close(weight.double(), weights.sum(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close((total / weight).double(), plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_whole_distribution(hard: float) -> None:
    rows, head = rows_and_head()
    teacher = torch.randn(ROWS, WIDTH)
    weights = torch.ones(ROWS, dtype=torch.float64)
    compare(Goal(hard, teacher), whole(teacher, head, hard), rows, head, weights)


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_top_logits_are_renormalised_inside_the_draft_vocabulary(hard: float) -> None:
    rows, head = rows_and_head()
    logits, tokens = torch.randn(ROWS, VOCABULARY).topk(6)
    outside = torch.rand(ROWS, 6) < 0.4
    outside[3] = True  # none of the logits is of a token that can be proposed: no weight
    tokens = tokens.masked_fill(outside, -1)
    dense = torch.zeros(ROWS, VOCABULARY, dtype=torch.float64)
    for row in range(ROWS):
        inside = ~outside[row]
        if inside.any():
            shares = logits[row][inside].double().softmax(-1) * (1 - hard)
            shares[0] += hard
            dense[row, tokens[row][inside]] = shares
    weights = (~outside).any(-1).double()
    compare(Goal(hard, tokens=tokens, logits=logits), dense, rows, head, weights)


def reach(log_probs: Tensor, token: int) -> float:
    return float(log_probs[token] if token >= 0 else NEVER)


def tree(log_probs: Tensor, token: int) -> float:
    return 0.0 if token in log_probs.topk(TREE_WIDTH).indices else NEVER


@pytest.mark.parametrize("step", [reach, tree])
def test_weights_follow_the_drafts_own_path(step: Callable[[Tensor, int], float]) -> None:
    rows, head = rows_and_head()
    teacher = torch.randn(ROWS, WIDTH)
    depths = torch.tensor([0, 1, 2, 0, 0, 1, 2, 3, 4] * 8)[:ROWS]
    log_probs = (rows.double() @ head.double().T).log_softmax(-1).detach()
    following = torch.multinomial(log_probs.exp(), 1)[:, 0]
    following[6] = -1
    weights = torch.ones(ROWS, dtype=torch.float64)
    for row in range(ROWS):
        for before in range(row - int(depths[row]), row):
            weights[row] *= math.exp(step(log_probs[before], int(following[before])))
    assert 0.2 < float((weights > 0.01).double().mean()) < 0.95  # some paths end, some go on
    goal = Goal(0.2, teacher, following=following, depths=depths, weighting=step.__name__)
    compare(goal, whole(teacher, head, 0.2), rows, head, weights)


def test_mistakes_weigh_what_the_draft_gives_to_other_tokens() -> None:
    rows, head = rows_and_head()
    teacher = torch.randn(ROWS, WIDTH)
    following = torch.randint(0, VOCABULARY, (ROWS,))
    probabilities = (rows.double() @ head.double().T).softmax(-1).detach()
    weights = 1 - probabilities.gather(1, following[:, None])[:, 0]
    following[6] = -1
    weights[6] = 1
    goal = Goal(0.2, teacher, following=following, weighting="mistakes")
    compare(goal, whole(teacher, head, 0.2), rows, head, weights)


def test_chunks_of_a_large_vocabulary_hold_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, head = rows_and_head()
    teacher = torch.randn(ROWS, WIDTH)
    monkeypatch.setattr(module, "CHUNK_BYTES", 3 * VOCABULARY * 4)
    weights = torch.ones(ROWS, dtype=torch.float64)
    compare(Goal(0.2, teacher), whole(teacher, head, 0.2), rows, head, weights)


def test_bfloat16_stays_near() -> None:
    rows, head = rows_and_head()
    teacher = torch.randn(ROWS, WIDTH)
    exact, _ = distillation_loss(rows, head, Goal(0.2, teacher))
    (expected,) = torch.autograd.grad(exact, rows)
    low = rows.detach().bfloat16().requires_grad_()
    near, _ = distillation_loss(low, head.bfloat16(), Goal(0.2, teacher.bfloat16()))
    (grad,) = torch.autograd.grad(near, low)
    torch.testing.assert_close(near, exact, rtol=0.01, atol=0.1)
    assert (grad - expected).norm() < 0.03 * expected.norm()
