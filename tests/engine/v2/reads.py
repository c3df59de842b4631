"""A lint: raises where code between two marks reads the device, on CPU tensors as on a GPU's.

On a CPU such reads cost nothing and go unseen; on a GPU each stops the host until the device has
caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

METHODS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__")
FUNCTIONS = {
    *(getattr(torch.Tensor, name) for name in (*METHODS, "__index__", "__array__")),
    *(torch.nonzero, torch.masked_select, torch.unique, torch.equal, torch.allclose),
}
OPERATORS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal"),
    *("unique_dim", "_unique2", "unique_consecutive", "repeat_interleave"),
}
INDEXED = {"index", "index_put", "index_put_"}


class DeviceReadError(RuntimeError):
    """Something was read back."""


class _Methods(TorchFunctionMode):
    """What never reaches an operator, as CPU tensors are read in place."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in FUNCTIONS or (func is torch.Tensor.to and "cpu" in map(str, args[1:])):
            raise DeviceReadError(f"device-to-host read: {func}")
        return func(*args, **given)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in OPERATORS and func._overloadname != "self_int":  # repeats of a known number
            raise DeviceReadError(f"device-to-host read: {func}")
        if name in INDEXED and any(i is not None and i.dtype == torch.bool for i in args[1]):
            raise DeviceReadError(f"device-to-host read: {func} with a mask for an index")
        return func(*args, **(kwargs or {}))


@contextmanager
def forbidden() -> Iterator[None]:
    """Reads raise :class:`DeviceReadError`."""
    with _Methods(), _Operators():
        yield


def guard(kind: type, *names: str, unless: Callable[[Any], bool] = lambda self: False) -> None:
    """Forbid reads in methods of a class, from now on, ``unless`` the object may read."""
    for name in names:
        setattr(kind, name, _guarded(getattr(kind, name), unless))


def _guarded(method: Callable[..., Any], unless: Callable[[Any], bool]) -> Callable[..., Any]:
    @wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if unless(self):
            return method(self, *args, **kwargs)
        with forbidden():
            return method(self, *args, **kwargs)

    return guarded
