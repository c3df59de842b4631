"""The vLLM adapter. ``register`` is the entry point ``vllm.general_plugins``."""

from __future__ import annotations


def register() -> None:
    """Teach this process' vLLM ``"method": "longspec"``. Idempotent; never raises.

    vLLM calls it in every process. Without our method in the speculative config nothing changes.
    """
    try:
        from .config import install

        install()
    except Exception as error:  # an exception here would stop vLLM for people who do not use us
        import logging

        logging.getLogger("vllm.longspec").warning("longspec is not available: %s", error)
