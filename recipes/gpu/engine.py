"""vLLM in this process, for the pieces that need engines."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .plan import Plan

COUNTERS = ("spec_decode_num_drafts", "spec_decode_num_accepted_tokens")
BACKEND = re.compile(r"Using (\w+) attention backend")


def start(plan: Plan, model: Path, gib: float, batch: int, longest: int, **more: Any) -> Any:
    """An engine as stock vLLM chooses it for this machine, with ``gib`` of KV cache.

    Args:
        batch: the most requests at once.
        longest: tokens of the longest request.
        more: further arguments of ``LLM``.
    """
    from vllm import LLM

    if plan.device == "cpu":
        more["enforce_eager"] = True  # what the interpreter runs cannot be compiled
    return LLM(
        model=str(model),
        dtype=plan.dtype,
        max_model_len=longest,
        max_num_seqs=batch,
        gpu_memory_utilization=0.2,  # asked for at the start; the next line is what counts
        kv_cache_memory_bytes=int(max(gib, 0.0625) * 2**30),
        disable_log_stats=False,
        seed=0,
        **more,
    )


def generate(llm: Any, prompts: Sequence[Sequence[int]], tokens: int, **more: Any) -> list[Any]:
    """Greedy answers of so many tokens, all prompts together: vLLM's completions."""
    from vllm import SamplingParams

    params = SamplingParams(
        temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False, **more
    )
    given = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    return [done.outputs[0] for done in llm.generate(given, params, use_tqdm=False)]


def counters(llm: Any) -> tuple[float, float]:
    """vLLM's own counts so far: steps with drafts (a request's each), accepted tokens."""
    found = {metric.name.removeprefix("vllm:"): metric for metric in llm.get_metrics()}
    drafts, accepted = (found[n].value if n in found else 0.0 for n in COUNTERS)
    return drafts, accepted


def settings(llm: Any) -> dict[str, Any]:
    """What vLLM made of its own choices."""
    import vllm

    config = llm.llm_engine.vllm_config
    return {
        "vllm": vllm.__version__,
        "model_runner": "V2" if config.use_v2_model_runner else "V1",
        "asynchronous": bool(config.scheduler_config.async_scheduling),
        "graphs": str(config.compilation_config.cudagraph_mode).rpartition(".")[2],
        "captured": config.compilation_config.cudagraph_capture_sizes,
    }


def backend(log: Path) -> str | None:
    """The attention backend that an engine's log names."""
    found = BACKEND.search(log.read_text(errors="replace")) if log.is_file() else None
    return found[1] if found else None


def ended(work: Callable[[], Any]) -> None:
    """Do the work and end the process at once: an engine's shutdown can hang."""
    code = 0
    try:
        llm = work()
        with suppress(Exception):
            llm.llm_engine.engine_core.shutdown()
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
