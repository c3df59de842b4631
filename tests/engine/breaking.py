"""Greedy answers of one engine in this process, whole and then with parts of the method broken.

    python breaking.py TARGET DRAFT OUT.json PROMPTS.json

Run by test_controls.py in a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@contextmanager
def broken(part: str, runner: Any) -> Iterator[None]:
    """Switch one part off: ``kv_move``, ``mask`` or ``positions``; ``none`` leaves all on."""
    from longspec_plugin.vllm import runner as module

    mask, kind = module.ancestor_mask, type(runner)
    if part == "mask":
        module.ancestor_mask = lambda trees: mask(trees).fill_(True).tril()
    elif part == "kv_move":
        kind._move_accepted = lambda self, *args: None
    elif part == "positions":
        kind._place_tree_positions = lambda self, trees: None
    try:
        yield
    finally:
        module.ancestor_mask = mask
        for name in ("_move_accepted", "_place_tree_positions"):
            if name in kind.__dict__:
                delattr(kind, name)


def main(target: str, draft: str, out: str, prompts_file: str) -> None:
    from vllm import LLM, SamplingParams

    with open(prompts_file) as file:
        prompts = json.load(file)
    llm = LLM(
        target,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        speculative_config={"method": "longspec", "model": draft, "tree_shape": [4, 4, 2, 1]},
    )
    core = llm.llm_engine.engine_core.engine_core
    runner = core.model_executor.driver_worker.worker.model_runner
    params = SamplingParams(temperature=0, max_tokens=64)
    answers = {}
    for part in ("none", "kv_move", "mask", "positions"):
        with broken(part, runner):
            outputs = llm.generate(prompts, params, use_tqdm=False)
        answers[part] = [list(output.outputs[0].token_ids) for output in outputs]
        llm.reset_prefix_cache()  # what was broken must not be found again
    with open(out, "w") as file:
        json.dump(answers, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
