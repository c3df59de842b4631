"""What is timed is what its name says: the baseline is the model, steps stand where they should."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from eval import latency_bench
from eval.cli.errors import UserError
from eval.latency_bench import models
from eval.latency_bench.options import made_of
from eval.latency_bench.prompts import as_text, encode, prompt_of

CPU: dict[str, Any] = {"dtype": torch.float32, "device": "cpu", "size": "tiny"}
PROMPT = torch.randint(512, (1, 9), generator=torch.Generator().manual_seed(0))

SIGNATURES = {
    "benchmark_ttft": "model, prompt_ids, warmup_ms=100.0, rep_ms=1000.0",
    "benchmark_decode": "model, prompt_ids, gen_length=128, step_interval=8, warmup_ms=100.0,"
    " rep_ms=1000.0",
    "benchmark_poe": "poe, prompt_text, warmup_ms=100.0, rep_ms=1000.0",
    "benchmark_poe_ttft": "poe, prompt_ids, warmup_ms=100.0, rep_ms=1000.0",
    "build_baseline_model": "dtype=torch.bfloat16, device='auto', size='1b'",
    "build_hydra_model": "n_heads=5, heads_depth=3, dtype=torch.bfloat16, device='auto', size='1b'",
    "build_poe": "cfg, dtype=torch.bfloat16",
    "forward_and_sample": "model, input_ids",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_and_parameters(name: str) -> None:
    function = getattr(latency_bench, name)
    parameters = inspect.signature(function).parameters.values()
    shown = ", ".join(
        p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters
    )
    assert shown == SIGNATURES[name]
    assert function.__doc__


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'benchmark'"):
        latency_bench.benchmark  # noqa: B018


@torch.inference_mode()
def test_baseline_is_the_model() -> None:
    """Same weights, prefill and steps, with the cache rolled back in between."""
    whole = models.causal_model("tiny", torch.float32, "cpu")
    expected = whole(PROMPT).logits
    model = models.build_baseline_model(**CPU)
    model.init_kv_cache(1, 9)
    torch.testing.assert_close(model.forward(PROMPT[:, :6]), expected[:, :6])
    for _ in range(2):
        model.roll_back(6)
        torch.testing.assert_close(model.forward(PROMPT[:, 6:7])[:, 0], expected[:, 6])
    last = model.forward(PROMPT[:, 7:], last_token_only=True)
    torch.testing.assert_close(last, expected[:, -1:])


@torch.inference_mode()
def test_forward_and_sample() -> None:
    for model in (models.build_baseline_model(**CPU), models.build_hydra_model(2, 1, **CPU)):
        model.init_kv_cache(1, 10)
        token = models.forward_and_sample(model, PROMPT)
        assert token.shape == (1, 1)
        model.reset_kv_cache()
        assert token == model.forward(PROMPT)[0, -1].argmax()


def test_build_poe(target: Path) -> None:
    cfg = {"poe_gamma": 2, "poe_beta": 0.5, "poe_max_new_tokens": 5, "size": "tiny"}
    small = {"device": "cpu", "n_heads": 3, "heads_depth": 1, "prompt_length": 9}
    poe, model = models.build_poe({**cfg, **small}, torch.float32)
    assert (poe.gamma, poe.beta, poe.max_new_tokens, poe.rule) == (2, 0.5, 5, "original")
    assert poe.model is model
    assert (model.n_heads, model.dtype) == (3, torch.float32)
    assert len(poe.generate_with_cache("1 2 3 400").tokens) == 5


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"poe_gamma": 0}, "poe_gamma 0: expected a whole number of at least 1"),
        ({"n_heads": 1}, "n_heads 1: expected a whole number of at least 2"),
        ({"gamma": 4}, "gamma is no option; allowed: rows, size"),
    ],
)
def test_build_poe_refuses(cfg: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        models.build_poe(cfg)
    assert str(refused.value).startswith(message)
    with pytest.raises(UserError, match=r"^dtype torch\.float64: expected bf16"):
        models.build_poe({}, torch.float64)


def test_benchmarks_directly() -> None:
    """As a library: no folder, no progress, a statistics dictionary."""
    cfg = {"size": "tiny", "device": "cpu", "n_heads": 2, "heads_depth": 1, "prompt_length": 9}
    poe, model = models.build_poe({**cfg, "poe_max_new_tokens": 3}, torch.float32)
    how = {"warmup_ms": 0.0, "rep_ms": 0.01}
    first = latency_bench.benchmark_poe_ttft(poe, PROMPT, **how)
    assert first["n_calls"] == 7
    assert latency_bench.benchmark_ttft(model, PROMPT, **how).keys() == first.keys()
    whole = latency_bench.benchmark_poe(poe, as_text(PROMPT[0].tolist()), **how)
    assert whole["output_tokens_per_call"] == 3
    steps = latency_bench.benchmark_decode(model, PROMPT, 5, 2, **how)
    assert [point["context"] for point in steps["per_position"]] == [9, 11, 13]


def test_one_prompt_for_all_rows(target: Path) -> None:
    """What PoE makes of the text are the ids of the other rows."""
    for given in ({"size": "tiny"}, {"target": target, "n_heads": 2}):
        options = made_of({**given, "device": "cpu", "heads_depth": 1, "prompt_length": 20})
        tokenizer = models.tokenizer_of(options.target)
        prompt = prompt_of(options, tokenizer)
        assert prompt.ids.shape == (1, 20)
        assert torch.equal(encode(tokenizer, prompt.text), prompt.ids)
    again = prompt_of(options, tokenizer)
    assert torch.equal(again.ids, prompt.ids)


def test_same_seed_same_weights() -> None:
    options = made_of({"size": "tiny", "device": "cpu", "heads_depth": 1, "prompt_length": 9})
    one, other = models.hydra_of(options), models.hydra_of(options)
    assert torch.equal(one.embedding.weight, other.embedding.weight)
    assert one.n_heads == options.n_heads
