"""A tiny Llama whose greedy answers a draft has learnt: small enough for Triton's interpreter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from proposers.train.__main__ import main
from tests.unit.train.answering import (
    BOT,
    EOS,
    USER,
    VOCABULARY,
    WORDS,
    Reply,
    Script,
    serving,
    words,
    write_target,
)

ANSWER = 32
THOUGHT = VOCABULARY.index("w1")


@dataclass(frozen=True)
class Tiny:
    """A target, its draft, and prompts whose (greedy) answers the draft has seen."""

    target: Path
    draft: Path
    prompts: list[list[int]]
    answers: list[list[int]]


def make(folder: Path, prompts: int) -> Tiny:
    """The four commands on a target with random, sharp weights: about ten seconds.

    Heads are of 32: vLLM's Triton backends take no smaller ones.
    """
    target = write_target(folder / "target")
    torch.manual_seed(4)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.3,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=EOS,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(target)

    answers: dict[tuple[int, ...], list[int]] = {}

    def answer(prompt: list[int], _number: int) -> Reply:
        out = model.generate(
            torch.tensor([prompt]), max_new_tokens=ANSWER, do_sample=False, pad_token_id=EOS
        )
        answers[tuple(prompt)] = out[0, len(prompt) :].tolist()
        return answers[tuple(prompt)], "length"

    texts = [[WORDS[i % len(WORDS)] for i in words(n, 4 + 2 * n % 19)] for n in range(3 * prompts)]
    lines = [json.dumps({"prompt": " ".join(text)}) + "\n" for text in texts]
    (folder / "prompts.jsonl").write_text("".join(lines))
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"target: {target}\n"
        f"data: {folder / 'data'}\n"
        f"answers: {{prompts: [{folder / 'prompts.jsonl'}], held_out: [], greedy: 1,"
        f" lengths: [{ANSWER}, {ANSWER}]}}\n"
        "train: {epochs: 60, draft_vocab: 0, batch_tokens: 128, learning_rate: 0.01}\n"
    )
    with serving(Script(answer=answer)) as address:
        assert main(["answers", "--recipe", str(recipe), "--server", address]) == 0
    for command in ("features", "train"):
        assert main([command, "--recipe", str(recipe)]) == 0
    ids = [[USER, *(VOCABULARY.index(word) for word in text), EOS, BOT] for text in texts[:prompts]]
    return Tiny(target, folder / "data" / "draft", ids, [answers[tuple(prompt)] for prompt in ids])
