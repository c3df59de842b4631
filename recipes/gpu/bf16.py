"""Answers with trees against stock vLLM's in bfloat16 with CUDA graphs, on the default target.

    python -m recipes.gpu --pieces bf16

Rounding turns near ties over, so answers part; whether by rounding, the margin tells: vanilla's
log-probability of its own token less that of the best other one, where they part, in nats, as
:mod:`eval.lossless` has it. A margin above what rounding can do (``NOISE_NATS``) is a fault. The
control is vanilla itself, whose answers to all prompts together part from those one by one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.numbers.guards import NOISE_NATS
from eval.numbers.metrics import first_difference

from . import engine
from .plan import Plan, read, write
from .processes import Job, cause, end, hear_ctrl_c, module, wait

RESULT = "bf16.json"
VANILLA = "vanilla"
WAYS = ("alone", "together")
LONGEST, GIB = 1024, 1.0
Answers = dict[str, Any]
"""Of an arm: token ids by prompt, ``alone`` and ``together``; ``AL``; vanilla's ``margins``."""


def configs(plan: Plan) -> dict[str, dict[str, Any] | None]:
    """The arms: stock vLLM, the draft as its own configuration serves it, and the plan's tree."""
    from recipes.offline.common import DRAFT

    served = {"method": "longspec", "model": str(DRAFT)}
    tree = {**served, "proposer": "glide", "tree_shape": list(plan.tree), "min_probability": 0.0}
    return {VANILLA: None, "served": served, "tree": tree}


def answers(plan: Plan, folder: Path, arm: str) -> Any:
    """One engine's answers, one by one and all together, in ``bf16/ARM.json``."""
    from recipes.offline.common import chat_prompts, default_target

    target, config = default_target(), configs(plan)[arm]
    count, tokens = (24, 128) if plan.device == "cuda" else (2, 8)
    prompts = [p for p in chat_prompts(target, 99) if len(p) + tokens + 99 < LONGEST][:count]
    llm = engine.start(plan, target, GIB, count, LONGEST, speculative_config=config)
    told = engine.settings(llm) | {"attention": engine.backend(folder / "bf16" / f"{arm}.log")}
    more = {} if config else {"logprobs": 2}
    groups = {"alone": [[prompt] for prompt in prompts], "together": [prompts]}
    found: Answers = {"settings": told}
    for way, each in groups.items():
        done = [one for group in each for one in engine.generate(llm, group, tokens, **more)]
        found[way] = [list(one.token_ids) for one in done]
        if not config:
            found.setdefault("margins", {})[way] = [margins(one) for one in done]
    drafts, accepted = engine.counters(llm)
    found["AL"] = 1 + accepted / drafts if drafts else None
    write(folder / "bf16" / f"{arm}.json", found)
    return llm


def margins(completion: Any) -> list[float]:
    """At each token, its log-probability less that of the best other one."""
    pairs = zip(completion.token_ids, completion.logprobs, strict=True)
    return [margin(token, {k: v.logprob for k, v in at.items()}) for token, at in pairs]


def margin(token: int, log_probs: Mapping[int, float]) -> float:
    others = [value for other, value in log_probs.items() if other != token]
    return log_probs[token] - max(others)


def compare(
    base: Sequence[Sequence[int]], other: Sequence[Sequence[int]], known: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """How many answers are the same, and where the others part, with vanilla's margin there."""
    parted = []
    for prompt, (a, b) in enumerate(zip(base, other, strict=True)):
        at = first_difference(a, b)
        if at is not None:
            nats = known[prompt][at] if at < len(known[prompt]) else None
            parted.append({"prompt": prompt, "token": at, "margin": nats})
    return {"same": len(base) - len(parted), "of": len(base), "parted": parted}


def faults(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Divergences that rounding does not explain; an unknown margin explains nothing."""
    return [
        each for each in compared["parted"] if each["margin"] is None or each["margin"] > NOISE_NATS
    ]


def verdict(found: Mapping[str, Answers]) -> dict[str, Any]:
    """``bf16.json``: arms against vanilla both ways, and vanilla against itself."""
    base = found[VANILLA]
    told: dict[str, Any] = {"noise_nats": NOISE_NATS, "settings": {}, "AL": {}}
    told["control"] = compare(base["alone"], base["together"], base["margins"]["alone"])
    told["arms"] = {}
    for arm, answered in found.items():
        told["settings"][arm] = answered["settings"]
        if arm != VANILLA:
            told["AL"][arm] = answered["AL"]
            compared = {
                way: compare(base[way], answered[way], base["margins"][way]) for way in WAYS
            }
            told["arms"][arm] = {w: {**c, "faults": faults(c)} for w, c in compared.items()}
    return told


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path, help="of the run")
    options.add_argument("--arm", help="be this engine")
    options.add_argument("--seconds", type=float, default=1e4, help="to be done in")
    args = options.parse_args()
    plan, own = Plan.load(args.folder), args.folder / "bf16"
    if args.arm:
        engine.ended(lambda: answers(plan, args.folder, args.arm))
    hear_ctrl_c()
    arms, deadline = list(configs(plan)), time.monotonic() + args.seconds
    for arm in arms:
        (own / f"{arm}.json").unlink(missing_ok=True)
    jobs = {arm: Job(module("bf16", args.folder, "--arm", arm), own / f"{arm}.log",
                     plan.engine_environment()) for arm in arms}  # fmt: skip
    try:  # not timed, so side by side
        wait(lambda: all(job.code is not None for job in jobs.values()), deadline, 0.5)
    finally:
        for job in jobs.values():
            job.stop(grace=2)
    found = {arm: read(own / f"{arm}.json") for arm in arms}
    for arm in [arm for arm in arms if not found[arm]]:
        log = own / f"{arm}.log"
        print(f"--- {arm}: {log}\n{end(log)}\nerror: {arm} failed: {cause(log)}", flush=True)
    if found[VANILLA]:
        write(args.folder / RESULT, verdict({arm: each for arm, each in found.items() if each}))
    return int(not all(found.values()))


if __name__ == "__main__":
    sys.exit(main())
