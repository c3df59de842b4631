"""What is timed: first token, decoding by position, whole calls of PoE and of the others.

Every function returns the dictionary of :mod:`.stats` that its annotation names; the definitions
are there. ``model`` is what ``build_baseline_model`` or ``build_hydra_model`` return.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .harness import benchmark
from .models import Glide, forward_and_sample, inference, stopwatch
from .stats import (
    CallStats,
    DecodeStats,
    GlideStats,
    PoeStats,
    TimeStats,
    call_stats,
    decode_stats,
    glide_stats,
    poe_stats,
    position_stats,
    time_stats,
)

Tensor = Any  # torch's, which only ``models`` imports


def benchmark_ttft(
    model: Any, prompt_ids: Tensor, warmup_ms: float = 100.0, rep_ms: float = 1000.0
) -> TimeStats:
    """Time to first token: prefill of the prompt and the choice of the token behind it.

    The KV cache is made here and emptied before every call, untimed; logits are made of the last
    position alone.

    Args:
        prompt_ids: ``[B, P]``.
        warmup_ms, rep_ms: windows of warm-up and measured calls, at least one call each.

    Returns:
        ``median_ms``, ``p20``, ``p80``: of ``filtered_ms``; ``raw_ms``: every measured call;
        ``filtered_ms``: those within 1.5 inter-quartile ranges of the quartiles; ``n_calls``:
        estimate, warm-up and measured calls.
    """
    model.init_kv_cache(*prompt_ids.shape)
    with inference():
        return time_stats(
            benchmark(
                lambda: forward_and_sample(model, prompt_ids),
                stopwatch(model.device),
                warmup_ms,
                rep_ms,
                setup=model.reset_kv_cache,
            )
        )


def benchmark_decode(
    model: Any,
    prompt_ids: Tensor,
    gen_length: int = 128,
    step_interval: int = 8,
    warmup_ms: float = 100.0,
    rep_ms: float = 1000.0,
) -> DecodeStats:
    """Latency of one decode step, by the number of tokens generated before it.

    ``gen_length`` tokens are generated greedily; at positions 0, ``step_interval``, twice that, ...
    the step is repeated, the cache rolled back before each call, untimed. Each position has
    windows of its own.

    Returns:
        ``per_position``: of each, ``position``, ``context`` (tokens in the cache), ``tps`` (1000 /
        median_ms) and the keys of :func:`benchmark_ttft`; ``mean_ms``: mean of their medians;
        ``tps``: 1000 / mean_ms.
    """
    batch, length = prompt_ids.shape
    model.init_kv_cache(batch, length + gen_length)
    watch, found = stopwatch(model.device), []
    with inference():
        token = forward_and_sample(model, prompt_ids)
        for position in range(gen_length):
            context = length + position
            if position % step_interval == 0:
                step = partial(forward_and_sample, model, token)
                back = partial(model.roll_back, context)
                timings = benchmark(step, watch, warmup_ms, rep_ms, setup=back)
                model.roll_back(context)
                found.append(position_stats(position, context, timings))
            token = forward_and_sample(model, token)
    return decode_stats(found)


def benchmark_poe(
    poe: Any, prompt_text: str, warmup_ms: float = 100.0, rep_ms: float = 1000.0
) -> PoeStats:
    """Whole calls of ``poe.generate_with_cache(prompt_text)``, prefill included.

    A call makes its own KV cache, and the numbers it draws differ from call to call. Set
    ``poe.gamma`` before; a window of several calls' time makes medians stable.

    Args:
        prompt_text: one user turn; the chat template goes around it.

    Returns:
        Of the measured calls: ``median_ms``, ``p20``, ``p80``, ``raw_ms``, ``filtered_ms`` as in
        :func:`benchmark_ttft`; ``avg_accepted_tokens_per_call``: mean of output less resampled
        tokens; ``resample_rate``: resampled / output tokens; ``effective_tps``: 1000 *
        avg_accepted_tokens_per_call / median_ms; ``user_tps``: effective_tps / (1 -
        resample_rate), as resampled tokens are output, too; ``n_calls``: estimate, warm-up and
        measured calls; and more, see :class:`.stats.PoeStats`.
    """
    with inference():
        return poe_stats(
            benchmark(
                lambda: poe.generate_with_cache(prompt_text),
                stopwatch(poe.model.device),
                warmup_ms,
                rep_ms,
            )
        )


def benchmark_poe_ttft(
    poe: Any, prompt_ids: Tensor, warmup_ms: float = 100.0, rep_ms: float = 1000.0
) -> TimeStats:
    """The prefill that every PoE call begins with: one ``residual_forward`` over all heads.

    Logits are made of the last position alone. The KV cache is made here and emptied before every
    call, untimed. Arguments and result as :func:`benchmark_ttft`.
    """
    model = poe.model
    model.init_kv_cache(*prompt_ids.shape)
    with inference():
        return time_stats(
            benchmark(
                lambda: model.residual_forward(prompt_ids, last_token_only=True),
                stopwatch(model.device),
                warmup_ms,
                rep_ms,
                setup=model.reset_kv_cache,
            )
        )


def benchmark_call(
    model: Any, prompt_ids: Tensor, tokens: int, warmup_ms: float = 100.0, rep_ms: float = 1000.0
) -> CallStats:
    """Whole greedy calls of so many tokens, prefill included: what PoE's and GLIDE's stand beside.

    Each token is brought to the host, as whoever looks for the end of an answer does.
    """
    model.init_kv_cache(prompt_ids.shape[0], prompt_ids.shape[1] + tokens)

    def call() -> int:
        token = forward_and_sample(model, prompt_ids)
        for _ in range(tokens - 1):
            token.tolist()
            token = forward_and_sample(model, token)
        token.tolist()
        return tokens

    with inference():
        timings = benchmark(
            call, stopwatch(model.device), warmup_ms, rep_ms, setup=model.reset_kv_cache
        )
    return call_stats(timings, timings.outputs)


def benchmark_glide(
    glide: Glide,
    row: str,
    prompt_ids: Tensor,
    tokens: int,
    warmup_ms: float = 100.0,
    rep_ms: float = 1000.0,
) -> GlideStats:
    """Whole calls of a GLIDE row, prefill included; of one token, this is its TTFT."""
    watch = stopwatch(glide.device)
    return glide_stats(
        benchmark(lambda: glide.generate(row, prompt_ids, tokens), watch, warmup_ms, rep_ms)
    )
