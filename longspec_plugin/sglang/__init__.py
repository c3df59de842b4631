"""The SGLang adapter. ``register`` is the entry point ``sglang.srt.plugins``."""

from __future__ import annotations


def register() -> None:
    """Teach this process' SGLang ``--speculative-algorithm LONGSPEC``.

    SGLang calls it in every process. Without our algorithm on the command line nothing changes:
    versions are checked, and SGLang is touched, only when LONGSPEC is asked for.
    """
    from .algorithm import install

    install()
