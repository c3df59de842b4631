"""The one prompt of all rows: text that has as many tokens as are asked for."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..cli.errors import UserError
from ..datasets.builtin import DATA
from .options import Options

REPORTS = DATA / "longbench" / "gov_report.jsonl"
SOURCE = "a report of the built-in LongBench sample, cut to length"
LETTERS = 8  # of a token at most, on average
TASK = "Summarise this report in a few paragraphs.\n\n"


@dataclass(frozen=True)
class Prompt:
    """``ids``, a tensor ``[1, P]``, and the text that the tokenizer makes them of."""

    ids: Any
    text: str
    source: str


def prompt_of(options: Options, tokenizer: Any) -> Prompt:
    """Random ids for random weights; for a target a text that fills the prompt."""
    length, vocab = options.prompt_length, options.shape.vocab
    if options.target is None:
        text = as_text(random.Random(options.seed).choices(range(vocab), k=length))
        return Prompt(encode(tokenizer, text), text, "random ids")
    text = fitted(lambda text: encode(tokenizer, text).shape[1], length)
    return Prompt(encode(tokenizer, text), text, SOURCE)


def encode(tokenizer: Any, text: str) -> Any:
    """``[1, P]``, as ``PoE.generate_with_cache`` makes them."""
    turn = [{"role": "user", "content": text}]
    how = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    return tokenizer.apply_chat_template(turn, **how)["input_ids"]


def fitted(count: Callable[[str], int], tokens: int) -> str:
    """The longest beginning of the report whose ``count`` of tokens is at most ``tokens``.

    Raises:
        UserError: where not even a letter fits.
    """
    with REPORTS.open(encoding="utf-8") as lines:
        text = TASK + " ".join(json.loads(line)["context"] for line in lines)
    text *= 1 + LETTERS * tokens // len(text)
    fitting = bisect_right(range(1, len(text) + 1), tokens, key=lambda end: count(text[:end]))
    if not fitting:
        least = count(text[:1])
        raise UserError(
            f"--prompt-length {tokens}: a prompt of one letter has {least} tokens with the"
            f" target's chat template; give at least {least}"
        )
    return text[:fitting]


def as_text(ids: Sequence[int]) -> str:
    """Ids as a text, ``17 4 256``, for models without a tokenizer."""
    return " ".join(map(str, ids))


def as_ids(text: str) -> list[int]:
    """What :func:`as_text` was made of."""
    return [int(word) for word in text.split()]
