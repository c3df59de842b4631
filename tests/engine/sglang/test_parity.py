"""One draft and tree four ways: vLLM's two runners, SGLang, offline: same tokens and acceptance."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from proposers import load_glide_model
from proposers.registry import load_proposer

from .. import serving as vllm
from ..v2.bed import Case, Engine
from ..v2.conftest import run
from .conftest import TREE
from .serving import Answer, Client, tokens

pytestmark = pytest.mark.engine
Result = tuple[list[tuple[int, ...]], float]
TOKENS = int(os.environ.get("LONGSPEC_PARITY_TOKENS", 20))
COUNT = 3
"""Few, as an interpreted kernel takes about a second a step of this target."""


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


def on_vllm_v2(target: Path, config: dict[str, object], prompts: list[str], folder: Path) -> Result:
    tokenizer = AutoTokenizer.from_pretrained(target)
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    params = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
    arguments = {
        "speculative_config": config,
        "max_model_len": 1024,
        "max_num_batched_tokens": 1024,
    }
    case = Case("parity", ids, [params] * len(ids))
    (found,) = run(folder, [Engine("v2", str(target), [case], arguments)]).values()
    answers = [tuple(answer) for answer in found.tokens]
    return answers, acceptance_length(answers, found.counters["spec_decode_num_drafts"])


def on_sglang(client: Client, prompts: list[str]) -> Result:
    found: list[Answer] = client.generate_all(prompts, 4, TOKENS, ignore_eos=True)
    steps = sum(answer.meta["spec_verify_ct"] for answer in found)
    return tokens(found), acceptance_length(tokens(found), steps)


def offline(target: Path, draft: Path, prompts: list[str]) -> Result:
    model = load_glide_model(target, draft, device="cpu", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(target)
    proposer = model.bind(load_proposer("glide")(draft, TREE))
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
    prompts, speculative = prompts[:COUNT], {**speculative, **TREE}
    with vllm.serve(target_dir, sglang_logs / "vllm.log", speculative) as client:
        vllm_found = on_vllm(client, prompts)
    found = {
        "vLLM V1": vllm_found,
        "vLLM V2": on_vllm_v2(target_dir, speculative, prompts, sglang_logs),
        "SGLang": on_sglang(trees, prompts),
        "offline": offline(target_dir, draft_dir, prompts),
    }
    lengths = {engine: length for engine, (_, length) in found.items()}
    print("acceptance length:", {engine: f"{length:.4f}" for engine, length in lengths.items()})
    answers = [answer for answer, _ in found.values()]
    assert all(answer == answers[0] for answer in answers)
    assert max(lengths.values()) / min(lengths.values()) < 1.01
