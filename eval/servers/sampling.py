"""How tokens are drawn: what every request says of it, and what the server adds where it is silent.

A server takes the defaults of its model's ``generation_config.json`` for what a request leaves
open (Qwen2.5-Instruct: a repetition penalty of 1.05). They change what is measured, and not alike
in arms whose engines read them differently.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..records.jsontext import an_object, parsed

SERVER, NEUTRAL = "server", "neutral"
OFF: dict[str, Any] = {
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Values at which a parameter does nothing, in vLLM and SGLang."""
_DOING_NOTHING: dict[str, set[Any]] = {name: {value} for name, value in OFF.items()} | {
    "top_k": {0, -1}
}
_LOGGED = re.compile(r"sampling parameters have been overridden by [^:]*: `(\{.*?\})`")


def sent(mode: str) -> dict[str, Any]:
    """The parameters that a request carries beside its temperature and seed."""
    return dict(OFF) if mode == NEUTRAL else {}


def in_logs(logs: Sequence[Path]) -> dict[str, Any]:
    """The defaults that vLLM says it has taken over; none if it says nothing."""
    found: dict[str, Any] = {}
    for log in logs:
        with suppress(OSError, ValueError, SyntaxError, TypeError):
            for told in _LOGGED.findall(log.read_text("utf-8", "replace")):
                found |= dict(ast.literal_eval(told))
    return known(found)


def in_folder(model: str | None) -> dict[str, Any] | None:
    """Those of a target's own ``generation_config.json``; None for a model that is no folder."""
    folder = Path(model or "")
    if not model or not folder.is_dir():
        return None
    path = folder / "generation_config.json"
    try:
        return known(an_object(parsed(path.read_bytes()), "it")) if path.is_file() else {}
    except (OSError, ValueError):
        return None


def known(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``OFF`` that do something; temperature is always the request's own."""
    there = {name: defaults[name] for name in OFF if defaults.get(name) is not None}
    return {name: value for name, value in there.items() if value not in _DOING_NOTHING[name]}
