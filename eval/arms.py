"""Arms: a name and the speculative configuration that its server gets."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engines import Engine, engine_of
from .errors import UserError
from .options import Options

KNOWN = ("vanilla", "longspec", "prompt_lookup", "ngram")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Arm:
    """One way of serving the target; ``config`` is None without speculation."""

    name: str
    config: dict[str, Any] | None = None

    @property
    def ours(self) -> bool:
        """Whether the server runs the longspec method (and can write a trace)."""
        return self.config is not None and self.config.get("method") == "longspec"

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

    def _shapes(self) -> list[list[int]]:
        """Level sizes of the tree and of the branches merged into it, as far as they are given."""
        given = {**_defaults_of_draft((self.config or {}).get("model")), **(self.config or {})}
        names = ("tree_shape", "lookup_shape") if given.get("proposer") == "glide_lookup" else ()
        found = [given.get(name) for name in names or ("tree_shape",)]
        return [shape for shape in found if isinstance(shape, list) and shape]


def _defaults_of_draft(folder: str | None) -> dict[str, Any]:
    path = Path(folder or "") / "config.json"
    if not folder or not path.is_file():
        return {}
    try:
        defaults = json.loads(path.read_text("utf-8")).get("longspec_config", {})
    except (ValueError, AttributeError):
        return {}
    return defaults if isinstance(defaults, dict) else {}


def parse_arms(options: Options) -> list[Arm]:
    """Arms in the order of running: vanilla first, then as given."""
    text = options.arms or ("vanilla,longspec" if options.draft else "vanilla")
    engine = engine_of(options.engine)
    arms = [_make(name, config, options, engine) for name, config in _split(text, engine)]
    for name in {arm.name for arm in arms}:
        if sum(arm.name == name for arm in arms) > 1:
            raise UserError(f"--arms {text}: {name} appears twice; give each arm once")
    return sorted(arms, key=lambda arm: arm.name != "vanilla")


def _split(text: str, engine: Engine) -> list[tuple[str, dict[str, Any] | None]]:
    """Split at the commas that are outside of a JSON value."""
    found: list[tuple[str, dict[str, Any] | None]] = []
    at = 0
    while True:
        name = _NAME.match(text, at)
        if not name:
            raise UserError(
                f"--arms {text}: no arm name at character {at + 1}; allowed: {', '.join(KNOWN)}"
                " or NAME={JSON}, with commas between"
            )
        config, at = _config(text, name.group(), name.end(), engine)
        found.append((name.group(), config))
        if at == len(text):
            return found
        if text[at] != ",":
            raise UserError(f"--arms {text}: expected a comma after {name.group()}")
        at += 1


def _config(text: str, name: str, at: int, engine: Engine) -> tuple[dict[str, Any] | None, int]:
    if text[at : at + 1] != "=":
        return None, at
    try:
        config, end = json.JSONDecoder().raw_decode(text, at + 1)
    except ValueError:
        config, end = None, at
    if not isinstance(config, dict):
        raise UserError(
            f"--arms {name}={text[at + 1 :]}: not a JSON object; quote it for the shell, as in"
            f" '{name}={engine.example}'"
        )
    return config, end


def _make(name: str, config: dict[str, Any] | None, options: Options, engine: Engine) -> Arm:
    if config is not None:
        engine.check(name, config)
        return Arm(name, config)
    tree: dict[str, Any] = {"tree_shape": options.tree} if options.tree else {}
    if name == "vanilla":
        return Arm(name)
    if name == "ngram":
        return Arm(name, dict(engine.ngram))
    if name == "prompt_lookup":
        return Arm(name, {"method": "longspec", "proposer": "prompt_lookup", **tree})
    if name != "longspec":
        raise UserError(f"--arms {name}: unknown; allowed: {', '.join(KNOWN)} or {name}={{JSON}}")
    if options.draft is None:
        raise UserError("--arms longspec: needs a draft; give --draft DIR")
    return Arm(name, {"method": "longspec", "model": str(options.draft), **tree})
