"""The lint of device reads sees what it is there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.engine.v2.reads import DeviceReadError, forbidden, guard

X = torch.arange(6.0)
READS: dict[str, Callable[[], object]] = {
    "item": lambda: X[0].item(),
    "float": lambda: float(X.max()),
    "int": lambda: int(X.sum()),
    "bool": lambda: bool((X > 2).any()),
    "if": lambda: 1 if X[0] > 0 else 2,
    "index": lambda: [1, 2, 3][torch.tensor(1)],
    "tolist": lambda: X.tolist(),
    "cpu": lambda: X.cpu(),
    "to cpu": lambda: X.to("cpu"),
    "numpy": lambda: X.numpy(),
    "nonzero": lambda: (X > 2).nonzero(),
    "where of one": lambda: torch.where(X > 2),
    "mask index": lambda: X[X > 2],
    "mask store": lambda: X.clone().__setitem__(X > 2, 0.0),
    "masked_select": lambda: torch.masked_select(X, X > 2),
    "equal": lambda: torch.equal(X, X),
    "repeats": lambda: X.repeat_interleave(torch.arange(6)),
}


@pytest.mark.parametrize("name", READS)
def test_a_planted_read_raises(name: str) -> None:
    READS[name]()
    with pytest.raises(DeviceReadError, match="device-to-host read"), forbidden():
        READS[name]()


def test_what_stays_on_the_device_passes() -> None:
    with forbidden():
        y = X[torch.tensor([1, 2])] + X.gather(0, torch.tensor([0, 3]))
        y = torch.where(y > 2, y, 0.0).masked_fill(y > 3, 1.0).to(torch.int64)
        y.clone()[torch.tensor([0])] = 3
        X.repeat_interleave(2), X.topk(2), X.sort(), X[:3].max()


def test_a_method_is_guarded_unless_it_may_read() -> None:
    class Steps:
        def __init__(self, host: bool) -> None:
            self.host = host

        def propose(self) -> list[float]:
            return X.tolist()

    guard(Steps, "propose", unless=lambda steps: steps.host)
    assert Steps(True).propose() == X.tolist()
    with pytest.raises(DeviceReadError):
        Steps(False).propose()
