"""The SGLang adapter. ``register`` is the entry point ``sglang.srt.plugins``."""

from __future__ import annotations

import sys

NAME = "LONGSPEC"


def register() -> None:
    """Teach this process' SGLang ``--speculative-algorithm LONGSPEC``.

    SGLang calls it in every process. Versions are checked and SGLang is touched only when LONGSPEC
    is asked for: one without a registry of algorithms hears of it then, in one line, and otherwise
    serves as if this plugin were not there.
    """
    try:
        from .algorithm import install

        install()
    except Exception as error:
        if not _asked_for(sys.argv):
            return
        from .compat import SGLANG, installed

        try:
            SGLANG.check_version(installed())
        except ValueError as unsupported:
            raise SystemExit(f"longspec: {unsupported}") from error
        raise SystemExit(f"longspec: cannot register with SGLang: {error}") from error


def _asked_for(command: list[str]) -> bool:
    return any(word.rpartition("=")[2].upper() == NAME for word in command)
