"""How lags are drawn."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from proposers.train.trainer import lags

WEIGHTS = [0.36, 0.26, 0.16, 0.12, 0.10]


@pytest.mark.parametrize("lay", [lags.independent, lags.cycles])
def test_lags_are_as_frequent_as_their_weights(lay: Callable[..., Tensor]) -> None:
    drawn = lay([40_000, 60_000], WEIGHTS, lags.generator(1, 2, 3))
    shares = torch.bincount(drawn, minlength=6)[1:] / len(drawn)
    torch.testing.assert_close(shares, torch.tensor(WEIGHTS), rtol=0, atol=0.01)


def test_cycles_rise_by_one_from_one_and_begin_with_each_sequence() -> None:
    drawn = lags.cycles([7, 1, 30], WEIGHTS, lags.generator(1, 2, 3))
    assert len(drawn) == 38
    for begin in (0, 7, 8):
        assert drawn[begin] == 1
    rises = drawn[1:] - drawn[:-1]
    assert bool(((rises == 1) | (drawn[1:] == 1)).all())
    assert int(drawn.max()) <= 5


def test_draws_are_those_of_a_micro_batch_of_a_step() -> None:
    def draw(*of: int) -> list[int]:
        return lags.independent([50], WEIGHTS, lags.generator(*of)).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert draw(1, 2, 3) != draw(1, 3, 2)
    assert draw(1, 2, 3) != draw(2, 2, 3)
