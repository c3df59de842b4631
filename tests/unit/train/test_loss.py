"""The fused loss against its plain formula."""

import pytest
import torch

from proposers.train.loss import distillation_loss


@pytest.mark.parametrize("hard", [0.0, 0.3, 1.0])
def test_value_and_gradient_match_the_formula(hard: float) -> None:
    torch.manual_seed(0)
    rows = torch.randn(700, 12, requires_grad=True)
    head, teacher = torch.randn(40, 12), torch.randn(700, 12)
    loss = distillation_loss(rows, head, teacher, hard)
    (grad,) = torch.autograd.grad(loss, rows)

    goal = (teacher @ head.T).softmax(-1) * (1 - hard)
    goal += hard * torch.nn.functional.one_hot((teacher @ head.T).argmax(-1), 40)
    plain = -(goal * (rows @ head.T).log_softmax(-1)).sum(-1).mean()
    (expected,) = torch.autograd.grad(plain, rows)
    torch.testing.assert_close(loss, plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5)
