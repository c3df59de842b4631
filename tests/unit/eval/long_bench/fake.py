"""A model with the engine's three methods and a tokenizer of characters: no weights, no time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from eval.long_bench.records import SampleRecord

EOS = 3
POSITIONS = 4096


class FakeTokenizer:
    """A token per character; ``template`` stands for the chat template."""

    eos_token_id = EOS

    def __init__(self, template: str | None = "<user>{}<answer>") -> None:
        self.chat_template = template

    def apply_chat_template(self, messages: list[dict[str, str]], **how: Any) -> str:
        assert how == {"tokenize": False, "add_generation_prompt": True}
        assert self.chat_template
        return self.chat_template.format(messages[0]["content"])

    def __call__(self, text: str, add_special_tokens: bool, verbose: bool) -> SimpleNamespace:
        start = [1] if add_special_tokens else []
        return SimpleNamespace(input_ids=start + [ord(letter) for letter in text])

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "".join(chr(i) for i in ids if not (skip_special_tokens and i <= EOS))


@dataclass
class FakeModel:
    """Answers every prompt with ``text``; call ``i`` takes ``i + 1`` seconds.

    Attributes:
        stop_at: the call that raises ``error``.
    """

    text: str = "abcdef"
    stop_at: int | None = None
    error: BaseException = field(default_factory=KeyboardInterrupt)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def _called(self, method: str, ids: torch.Tensor, length: int, how: dict[str, Any]) -> Any:
        assert ids.shape == (1, length)
        assert ids.dtype == torch.int64
        assert how.pop("eos_id") == [EOS, 2]
        if len(self.calls) == self.stop_at:
            raise self.error
        self.calls.append((method, "".join(map(chr, ids[0].tolist())), how))
        tokens = [*map(ord, self.text), *[EOS] * how["max_gen_len"]][: how["max_gen_len"]]
        return torch.tensor([tokens]), float(len(self.calls))

    def vanilla_generate(self, ids: torch.Tensor, length: int, **how: Any) -> Any:
        output, seconds = self._called("vanilla", ids, length, how)
        return output, 6, seconds

    def spec_generate(self, ids: torch.Tensor, length: int, **how: Any) -> Any:
        output, seconds = self._called("seq", ids, length, how)
        mask = torch.tensor([[0, 1, 1, 0, 1, 0, 0] + [0] * how["max_gen_len"]])
        return output, 3, 3, seconds, mask

    def tree_spec_generate(self, ids: torch.Tensor, length: int, **how: Any) -> Any:
        output, seconds = self._called("tree", ids, length, how)
        return output, 2 * len(self.calls), 4, seconds, torch.zeros_like(output)


def records(path: Path) -> list[SampleRecord]:
    return [SampleRecord.model_validate_json(line) for line in path.read_text().splitlines()]


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def document(number: int, **changes: Any) -> dict[str, Any]:
    """A line of LongBench."""
    row = {"input": "Who?", "context": f"Text {number}", "answers": ["x"], "_id": f"id{number}"}
    return {**row, **changes}
