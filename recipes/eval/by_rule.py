"""Acceptance length by what requests ask for beside a text: penalties, grammars, JSON.

    python -m recipes.eval.by_rule --model MODEL --draft DRAFT_DIR

One vLLM engine in this process, whole trees, greedy, the built-in prompts. AL is of the steps that
had drafts; the effective AL is tokens a step of all steps.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from rich.console import Console
from rich.table import Table
from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from eval.datasets import load, spread

FACT = {
    "type": "object",
    "properties": {"fact": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["fact", "year"],
}
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"type": "string"}, "facts": {"type": "array", "items": FACT}},
    "required": ["topic", "facts"],
}
RULES: dict[str, dict[str, Any]] = {
    "nothing": {},
    **{f"repetition penalty {by}": {"repetition_penalty": by} for by in (1.05, 1.1, 1.3)},
    "presence penalty 1": {"presence_penalty": 1.0},
    "a JSON schema": {"structured_outputs": {"json": SCHEMA}},
    "any JSON object": {"structured_outputs": {"json_object": True}},
    "a list, by regex": {"structured_outputs": {"regex": r"(- [A-Za-z ,']{5,60}\n){3,5}"}},
}


def acceptance(llm: Any, prompts: list[Any], rule: dict[str, Any], tokens: int) -> tuple[int, ...]:
    """Generated tokens, steps with drafts and accepted tokens, of answers under a rule."""
    given = dict(rule)
    if "structured_outputs" in given:
        given["structured_outputs"] = StructuredOutputsParams(**given["structured_outputs"])
    before = _counters(llm)
    params = SamplingParams(temperature=0, max_tokens=tokens, **given)
    outputs = llm.chat(prompts, params, use_tqdm=False)
    grown = [after - old for after, old in zip(_counters(llm), before, strict=True)]
    return sum(len(output.outputs[0].token_ids) for output in outputs), *grown


def _counters(llm: Any) -> list[int]:
    found = {metric.name: metric for metric in llm.get_metrics()}
    names = ("num_drafts", "num_accepted_tokens")
    counters = [found.get(f"vllm:spec_decode_{name}") for name in names]
    return [int(counter.value) if counter else 0 for counter in counters]


def main() -> None:
    options = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--model", required=True, help="target")
    options.add_argument("--draft", required=True, help="its draft")
    options.add_argument("--num-prompts", type=int, default=48, help="built-in prompts")
    options.add_argument("--output-len", type=int, default=96, help="tokens of an answer at most")
    options.add_argument("--dtype", default="bfloat16", help="of the target")
    args = options.parse_args()
    prompts = [
        [{"role": "user", "content": prompt.turns[0]}]
        for prompt in spread(load("builtin"), args.num_prompts)
    ]
    llm = LLM(
        args.model,
        dtype=args.dtype,
        disable_log_stats=False,
        speculative_config={"method": "longspec", "model": args.draft, "follow_load": False},
    )
    table = Table("asked for", "tokens", "AL", "AL effective")
    for name, rule in RULES.items():
        tokens, drafts, accepted = acceptance(llm, prompts, rule, args.output_len)
        numbers = (1 + accepted / max(drafts, 1), tokens / max(tokens - accepted, 1))
        table.add_row(name, str(tokens), *(f"{number:.2f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
