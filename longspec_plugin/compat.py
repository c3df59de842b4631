"""Which engine versions an adapter fits, and the signatures of every method it leans on."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from packaging.version import Version

from .errors import LongSpecError


@dataclass(frozen=True)
class Supported:
    """What an adapter was written for.

    Attributes:
        engine: its name for messages.
        low, high: first supported version, and first unsupported one.
        override: environment variable that skips the version check when it is ``1``.
        hooks: ``module:Class.method`` -> the parameters it must begin with (``self`` apart).
    """

    engine: str
    low: Version
    high: Version
    override: str
    hooks: Mapping[str, tuple[str, ...]]

    def check_version(self, installed: str) -> None:
        """Raise LongSpecError for a version that the adapter was not written for."""
        base = Version(Version(installed).base_version)
        if self.low <= base < self.high or os.environ.get(self.override) == "1":
            return
        raise LongSpecError(
            f"{self.engine} {installed} is not supported; allowed: >={self.low},<{self.high}."
            f" Install one of these, or set {self.override}=1 to try anyway"
        )

    def check_hooks(self) -> None:
        """Raise LongSpecError if a method that we lean on has gone or takes other arguments."""
        for path, expected in self.hooks.items():
            try:
                found = parameters(path)
            except ImportError as error:
                module = path.partition(":")[0]
                raise LongSpecError(
                    f"this {self.engine}'s {module} cannot be imported: {error}"
                ) from error
            if found is None or found[: len(expected)] != expected:
                raise LongSpecError(
                    f"this {self.engine}'s {path} takes {found}, expected {expected} first;"
                    f" install {self.engine} >={self.low},<{self.high}"
                )


def parameters(path: str) -> tuple[str, ...] | None:
    """Names of a callable's parameters without ``self``; None if it is not there.

    Raises:
        ImportError: its module is there and cannot be imported.
    """
    module, _, names = path.partition(":")
    try:
        found: object = import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # what it imports is missing
        return None
    for name in names.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        return None
    return tuple(name for name in inspect.signature(found).parameters if name != "self")
