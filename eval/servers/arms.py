"""Arms: a name, and the speculative configuration that its server gets or where it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cli.errors import UserError
from ..cli.options import Options
from ..records.jsontext import parsed
from .addresses import base_address
from .engines import Config, Engine, engine_of

KNOWN = ("vanilla", "longspec", "prompt_lookup", "ngram", "suffix", "draft_model", "eagle3")
NAME = re.compile(r"[A-Za-z0-9_.-]+")
_URL = re.compile(r"https?://[^,\s]+")
Value = Config | list[str] | None  # a configuration, addresses, or what the name stands for


@dataclass(frozen=True)
class Arm:
    """One way of serving the target.

    ``config`` is None without speculation. ``urls``: the replicas of a server that already runs,
    whose configuration is not known here, and ``flag`` what they were given with.
    """

    name: str
    config: Config | None = None
    urls: tuple[str, ...] = ()
    flag: str = field(default="", compare=False)

    @property
    def ours(self) -> bool:
        """Whether the server runs the longspec method (and can write a trace)."""
        return self.config is not None and self.config.get("method") == "longspec"

    @property
    def speculates(self) -> bool | None:
        """Whether its server was told to; None where that is not known."""
        if self.name == "vanilla":
            return False
        return None if self.urls else self.config is not None

    @property
    def depth(self) -> int | None:
        """Deepest draft path, for the acceptance rate along the path; None if not known."""
        if self.config is None:
            return None
        if shapes := self._shapes():
            return max(map(len, shapes))
        names = ("num_speculative_tokens", "speculative_num_steps")  # vLLM's, SGLang's
        tokens = next((self.config[name] for name in names if name in self.config), None)
        return int(tokens) if tokens else None

    @property
    def nodes(self) -> int | None:
        """Drafted tokens of each step where they are the same in all, as SGLang counts them."""
        tokens = (self.config or {}).get("speculative_num_draft_tokens")
        if tokens:
            return int(tokens) - 1
        shapes = self._shapes()
        most = self._served().get("nodes")
        return min(sum(shapes[0]), most or sum(shapes[0])) if len(shapes) == 1 else None

    def _served(self) -> dict[str, Any]:
        """The configuration over the defaults of its draft."""
        config = self.config or {}
        return {**_defaults_of_draft(config.get("model")), **config}

    def _shapes(self) -> list[list[int]]:
        """Level sizes of the tree and of the branches merged into it, as far as they are given."""
        given = self._served()
        names = ("tree_shape", "lookup_shape") if given.get("proposer") == "glide_lookup" else ()
        found = [given.get(name) for name in names or ("tree_shape",)]
        return [shape for shape in found if isinstance(shape, list) and shape]


def _defaults_of_draft(folder: str | None) -> dict[str, Any]:
    path = Path(folder or "") / "config.json"
    if not folder or not path.is_file():
        return {}
    try:
        defaults = parsed(path.read_bytes()).get("longspec_config", {})
    except (ValueError, AttributeError):
        return {}
    return defaults if isinstance(defaults, dict) else {}


def parse_arms(options: Options) -> list[Arm]:
    """Arms in the order of running: vanilla first, then as given.

    Raises:
        UserError: for a name that is unknown, double or lacks what it needs.
    """
    engine = engine_of(options.engine)
    arms = [_make(name, value, options, engine) for name, value in _given(options, engine)]
    for name in (names := [arm.name for arm in arms]):
        if names.count(name) > 1:
            raise UserError(f"--arms: {name} appears twice; give each arm once")
    return sorted(arms, key=lambda arm: arm.name != "vanilla")


def _given(options: Options, engine: Engine) -> list[tuple[str, Value]]:
    """Names with their values, from the command line or a recipe."""
    if options.base_url is not None:
        name = options.arms if isinstance(options.arms, str) else "server"
        return [(name, options.base_url.split("+"))]
    given = options.arms or ("vanilla,longspec" if options.draft else "vanilla")
    if isinstance(given, str):
        return list(_split(given, engine))
    if isinstance(given, list):
        return [(name, None) for name in given]
    return [
        (name, value.split("+") if isinstance(value, str) else value)
        for name, value in given.items()
    ]


def _split(text: str, engine: Engine) -> Iterator[tuple[str, Value]]:
    """Split at the commas that are outside of a JSON value."""
    at = 0
    while True:
        name = NAME.match(text, at)
        if not name:
            raise UserError(
                f"--arms {text}: no arm name at character {at + 1}; allowed: {', '.join(KNOWN)},"
                " NAME={JSON} or NAME=URL, with commas between"
            )
        value, at = _value(text, name.group(), name.end(), engine)
        yield name.group(), value
        if at == len(text):
            return
        if text[at] != ",":
            raise UserError(f"--arms {text}: expected a comma after {name.group()}")
        at += 1


def _value(text: str, name: str, at: int, engine: Engine) -> tuple[Value, int]:
    if text[at : at + 1] != "=":
        return None, at
    if address := _URL.match(text, at + 1):
        return address.group().split("+"), address.end()
    try:
        config, end = json.JSONDecoder().raw_decode(text, at + 1)
    except (ValueError, RecursionError):
        config, end = None, at
    if not isinstance(config, dict):
        raise UserError(
            f"--arms {name}={text[at + 1 :]}: neither a JSON object nor a URL; quote it for the"
            f" shell, as in '{name}={engine.example}'"
        )
    return config, end


def _make(name: str, value: Value, options: Options, engine: Engine) -> Arm:
    if isinstance(value, list):
        flag = "--base-url " if options.base_url is not None else f"--arms {name}="
        return Arm(name, urls=tuple(base_address(url, flag) for url in value), flag=flag)
    if isinstance(value, dict):
        engine.check(name, value)
        return Arm(name, value)
    if value is not None:
        raise UserError(f"--arms {name}={value}: expected a configuration, URLs or nothing")
    if name not in KNOWN:
        raise UserError(f"--arms {name}: unknown; allowed: {', '.join(KNOWN)} or {name}={{JSON}}")
    return Arm(name, _known(name, options, engine))


def _known(name: str, options: Options, engine: Engine) -> Config | None:
    """The configuration that a name stands for."""
    tree: Config = {"tree_shape": options.tree} if options.tree else {}
    if name == "vanilla":
        return None
    if name == "prompt_lookup":
        return {"method": "longspec", "proposer": "prompt_lookup", **tree}
    if name == "longspec":
        return {"method": "longspec", "model": _needed(name, "draft", options), **tree}
    if name not in engine.known:
        raise UserError(
            f"--arms {name}: {options.engine} has no such method; it has {', '.join(engine.known)}"
        )
    config = dict(engine.known[name])
    if name in ("draft_model", "eagle3"):
        config[engine.model_key] = _needed(name, name, options)
    return config


def _needed(arm: str, option: str, options: Options) -> str:
    given = getattr(options, option)
    if given is None:
        flag = "--" + option.replace("_", "-")
        raise UserError(f"--arms {arm}: needs a model; give {flag} DIR")
    return str(given)
