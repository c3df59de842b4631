"""Learning rates, and what an optimiser does to a matrix."""

from pathlib import Path

import pytest
import torch
from torch import nn

from proposers.train.trainer import optimise
from proposers.train.trainer.optimise import Muon, divided, orthogonal
from proposers.train.trainer.schedule import rate

from .training import settings


@pytest.mark.parametrize(
    ("schedule", "half"), [("cosine", 0.55), ("linear", 0.55), ("constant", 1.0)]
)
def test_rates_rise_then_follow_the_schedule(tmp_path: Path, schedule: str, half: float) -> None:
    options = {"schedule": schedule, "warmup": 0.2, "final_rate": 0.1, "learning_rate": 2.0}
    s = settings(tmp_path, **options)
    assert rate(s, 0.1) == pytest.approx(1.0)
    assert rate(s, 0.2) == pytest.approx(2.0)
    assert rate(s, 0.6) == pytest.approx(2.0 * half)
    assert rate(s, 1.0) == pytest.approx(2.0 if schedule == "constant" else 0.2)
    assert 0 < rate(s, 0.0) < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
def test_updates_are_nearly_orthogonal(
    shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 where the device multiplies in it, else in float32."""
    multiplies = dtype == torch.bfloat16
    monkeypatch.setattr(optimise, "multiplies_bfloat16", lambda device: multiplies)
    torch.manual_seed(0)
    values = orthogonal(torch.randn(shape))
    assert values.dtype == dtype
    values = values.float()
    assert values.shape == shape
    singular = torch.linalg.svdvals(values)
    assert 0.85 < float(singular[-len(singular) // 10]) < float(singular.max()) < 1.15


def test_muon_moves_a_matrix_as_far_as_adamw_would() -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.randn(64, 128))
    before = matrix.detach().clone()
    matrix.grad = torch.randn(64, 128)
    Muon([matrix], lr=0.01, weight_decay=0.0).step()
    moved = (matrix.detach() - before).square().mean().sqrt() / 0.01
    assert 0.1 < float(moved) < 0.3


def test_costs_are_divided_evenly() -> None:
    costs = [9, 1, 8, 2, 5, 5]
    owners = divided(costs, 2)
    totals = [sum(c for c, owner in zip(costs, owners, strict=True) if owner == i) for i in (0, 1)]
    assert totals == [15, 15]
    assert divided([3, 1], 4) == [0, 1]
    assert divided(costs, 1) == [0] * 6
