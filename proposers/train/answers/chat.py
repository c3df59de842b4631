"""Between texts and the target's tokens: its chat template, its tokenizer, where it stops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ...rotary import positions_of

PROBE = "\0"


class Chat:
    """How a target is talked to; without a chat template (a base model) prompts are plain text.

    Attributes:
        stop: ids that end an answer (generation_config.json, config.json, tokenizer).
        user_turn: ids of the chat template up to the user's words; None without a template.
        limit: tokens that the target's positions allow; None if its config tells none.

    Raises:
        ValueError: one line for a folder without a tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self.tokenizer = _tokenizer(folder)
        self.templated = bool(getattr(self.tokenizer, "chat_template", None))
        config, generation = (_json(folder / f"{n}.json") for n in ("config", "generation_config"))
        self.stop = _stop_ids(generation, config, self.tokenizer.eos_token_id)
        self.limit: int | None = positions_of(config)
        self.user_turn = self._user_turn() if self.templated else None

    def prompt_ids(self, text: str) -> list[int]:
        """Tokens of a prompt of one user turn, up to where the answer begins."""
        if not self.templated:
            ids: list[int] = self.tokenizer.encode(text)
            return ids
        return self._encode(self._render(text, add_generation_prompt=True))

    def asked(self, ids: Sequence[int]) -> str:
        """The user's words of such a prompt."""
        if self.user_turn is None:
            return self.text(ids).strip()
        words = self.text(ids[len(self.user_turn) :]).strip()
        return words.removesuffix(self._after_user).strip()

    def answer_ids(self, text: str, ended: bool) -> list[int]:
        """Tokens of an answer that is known as text only."""
        return self._encode(text) + (self.stop[:1] if ended else [])

    def text(self, ids: Sequence[int]) -> str:
        """Text of tokens, without special ones."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def rendered(self, ids: Sequence[int]) -> str:
        """Text of tokens, with special ones."""
        text: str = self.tokenizer.decode(list(ids))
        return text

    def _user_turn(self) -> list[int]:
        text = self._render(PROBE, add_generation_prompt=False)
        return self._encode(text[: text.index(PROBE)])

    @cached_property
    def _after_user(self) -> str:
        """Text of the template between the user's words and the answer, without special tokens."""
        rendered = self._render(PROBE, add_generation_prompt=True)
        return self.text(self._encode(rendered[rendered.index(PROBE) + 1 :])).strip()

    def _render(self, text: str, add_generation_prompt: bool) -> str:
        turns = [{"role": "user", "content": text}]
        rendered: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return rendered

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids


def identity(folder: Path, name: str, model: str) -> dict[str, str]:
    """What tells one answering model from another: its config, and the server's name for it."""
    content = (folder / "config.json").read_bytes()
    return {"name": name, "config_sha256": hashlib.sha256(content).hexdigest(), "model": model}


def _tokenizer(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; --target is a folder of a model")
    from ...pretrained import read_tokenizer  # late: takes seconds, and `--help` should not

    return read_tokenizer(folder)


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return loaded


def _stop_ids(*found: Any) -> list[int]:
    """EOS ids: of the first that names any (a number, a list, or a config), in order."""
    for one in found:
        ids = one.get("eos_token_id") if isinstance(one, dict) else one
        if ids is not None:
            return list(ids) if isinstance(ids, list) else [ids]
    return []
