"""One draft and tree on both engines and the offline engine: same tokens, same acceptance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from proposers import load_glide_model

from .. import serving as vllm
from .conftest import TOKENS, TREE
from .serving import Answer, Client, tokens

pytestmark = pytest.mark.engine
Result = tuple[list[tuple[int, ...]], float]


def acceptance_length(answers: list[tuple[int, ...]], steps: float) -> float:
    """Tokens after the first, which prefill draws, per verification step.

    The engines' own counters also hold tokens that a last step accepted behind ``max_tokens``.
    """
    return sum(len(answer) - 1 for answer in answers) / steps


def on_vllm(client: vllm.Client, prompts: list[str]) -> Result:
    counter = "vllm:spec_decode_num_drafts_total"
    before = client.counter(counter)
    found = client.complete_all(prompts, 4, max_tokens=TOKENS, temperature=0, ignore_eos=True)
    answers = [completion.tokens for completion in found]
    return answers, acceptance_length(answers, client.counter(counter) - before)


def on_sglang(client: Client, prompts: list[str]) -> Result:
    found: list[Answer] = client.generate_all(prompts, 4, TOKENS, ignore_eos=True)
    steps = sum(answer.meta["spec_verify_ct"] for answer in found)
    return tokens(found), acceptance_length(tokens(found), steps)


def offline(target: Path, draft: Path, prompts: list[str]) -> Result:
    model = load_glide_model(target, draft, device="cpu", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(target)
    proposer = model.tree_proposer(TREE["tree_shape"])
    answers: list[tuple[int, ...]] = []
    steps = 0
    for prompt in prompts:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        done = model.decode(proposer, ids, ids.shape[1], TOKENS, -1)
        answers.append(tuple(done.output_ids[0, :TOKENS].tolist()))
        steps += int(done.steps.sum())
    return answers, acceptance_length(answers, steps)


def test_same_tokens_and_acceptance_length(
    trees: Client,
    speculative: dict[str, object],
    target_dir: Path,
    draft_dir: Path,
    prompts: list[str],
    sglang_logs: Path,
) -> None:
    prompts = prompts[:4]
    with vllm.serve(target_dir, sglang_logs / "vllm.log", speculative) as client:
        vllm_found = on_vllm(client, prompts)
    found = {
        "vLLM": vllm_found,
        "SGLang": on_sglang(trees, prompts),
        "offline": offline(target_dir, draft_dir, prompts),
    }
    lengths = {engine: length for engine, (_, length) in found.items()}
    print("acceptance length:", {engine: f"{length:.4f}" for engine, length in lengths.items()})
    answers = [answer for answer, _ in found.values()]
    assert answers[0] == answers[1] == answers[2]
    assert max(lengths.values()) / min(lengths.values()) < 1.01
