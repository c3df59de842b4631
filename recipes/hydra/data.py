"""A target's own answers, split among heads, and the trunk's states of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from proposers.hydra import HydraTransformer
from proposers.train.jsonl import records

HELD_OUT = 10
"""Every tenth answer is measured and never trained on."""


@dataclass(frozen=True)
class Answer:
    """A prompt with its answer; tokens from ``prompt`` on are the answer's."""

    tokens: tuple[int, ...]
    prompt: int
    category: str

    @property
    def name(self) -> str:
        return hashlib.sha256(repr(self.tokens).encode()).hexdigest()[:16]


def read_answers(path: Path, length: int, most: int) -> list[Answer]:
    """Answers of a file by `python -m proposers.train answers`, cut to ``length`` tokens.

    Raises:
        ValueError: in one line.
    """
    if not path.is_file():
        raise ValueError(
            f"{path} is no file; --answers is an answers.jsonl of python -m proposers.train answers"
        )
    found = []
    for number, row in records(path):
        try:
            prompt, answer = list(row["prompt_ids"]), list(row["answer_ids"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: no answer ({error}); make the file anew") from None
        if answer and 1 < len(prompt) < length:
            tokens = tuple((prompt + answer)[:length])
            found.append(Answer(tokens, len(prompt), row.get("category", "")))
    if len(found) < HELD_OUT:
        raise ValueError(f"{path}: {len(found)} usable answers; at least {HELD_OUT} are needed")
    return found[:most]


def split(answers: list[Answer], heads: int) -> list[list[Answer]]:
    """Each head's answers: all of them for head 0, which drafts, other categories for each other.

    With fewer categories than verifying heads every head gets other answers instead.
    """
    verifiers = heads - 1
    categories = sorted({answer.category for answer in answers})
    if len(categories) < verifiers:
        return [answers, *(answers[i::verifiers] for i in range(verifiers))]
    of = {category: i % verifiers for i, category in enumerate(categories)}
    return [answers, *([a for a in answers if of[a.category] == i] for i in range(verifiers))]


def trained_and_held_out(answers: list[Answer]) -> tuple[list[Answer], list[Answer]]:
    """By the answers' names, so that what is held out of one head is held out of all."""
    found: tuple[list[Answer], list[Answer]] = ([], [])
    for answer in answers:
        found[int(answer.name, 16) % HELD_OUT == 0].append(answer)
    return found


class States:
    """The trunk's hidden states of answers, one bf16 file each: computed once, whatever follows."""

    def __init__(self, folder: Path, hydra: HydraTransformer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.hydra = folder, hydra

    @torch.no_grad()
    def make(self, answer: Answer) -> None:
        path = self._path(answer)
        if path.exists():
            return
        hidden = self.hydra.trunk_forward(torch.tensor([answer.tokens], device=self.hydra.device))
        part = path.with_suffix(".part")
        save_file({"hidden": hidden[0].bfloat16().cpu()}, part)
        os.replace(part, path)

    def __getitem__(self, answer: Answer) -> Tensor:
        """``[T, H]`` in the model's dtype."""
        hidden = load_file(self._path(answer))["hidden"]
        return hidden.to(self.hydra.device, self.hydra.dtype)

    def _path(self, answer: Answer) -> Path:
        return self.folder / f"{answer.name}.safetensors"


@dataclass(frozen=True)
class Batch:
    """Right-padded: ``hidden [B, T, H]``, ``tokens [B, T]``, ``answer [B, T]`` bool."""

    hidden: Tensor
    tokens: Tensor
    answer: Tensor

    @property
    def rows(self) -> Tensor:
        """``[B, T - 1]`` bool: positions whose next token is an answer's."""
        return self.answer[:, 1:]


def batch(answers: list[Answer], states: States) -> Batch:
    """Stack answers; what is behind an answer's end is no row of it."""
    longest = max(len(answer.tokens) for answer in answers)
    hidden = torch.zeros(len(answers), longest, states.hydra.target_config.hidden_size)
    hidden = hidden.to(states.hydra.device, states.hydra.dtype)
    tokens = torch.zeros(len(answers), longest, dtype=torch.long, device=hidden.device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for i, answer in enumerate(answers):
        end = len(answer.tokens)
        hidden[i, :end] = states[answer]
        tokens[i, :end] = torch.tensor(answer.tokens)
        mask[i, answer.prompt : end] = True
    return Batch(hidden, tokens, mask)
