"""Engines with Model Runner V2 in one process of their own, under Triton's interpreter; with V1
where that is off.

    python -m tests.engine.v2.bed JOB.json OUT.json

The job names engines, and for each the cases to answer; what comes out is token ids,
log-probabilities and how vLLM's counters grew. Device reads in the steady cycle of trees raise
(:mod:`.reads`).
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from longspec_plugin.errors import LongSpecError

ON_V2 = os.environ.get("LONGSPEC_V2") != "0"
COUNTERS = ("spec_decode_num_drafts", "spec_decode_num_accepted_tokens", "num_preemptions")
COMMON: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 256,
    "max_num_seqs": 6,
    "max_num_batched_tokens": 96,
    "block_size": 32,
    "kv_cache_memory_bytes": 64 << 20,
    "gpu_memory_utilization": 0.2,  # engines follow each other in one process
    "enable_prefix_caching": False,
    "disable_log_stats": False,
    "kernel_config": {"enable_jit_warmup": False},
    "reasoning_config": {"reasoning_start_str": "w1", "reasoning_end_str": "w2 w3"},
}


@dataclass(frozen=True)
class Case:
    """Prompts to answer together.

    Attributes:
        params: sampling parameters of each prompt.
        broken: the part of verification that is switched off: ``mask``, ``positions``, ``kv_move``,
            or what rules of the text make of a tree: ``penalties``, ``bad words``, ``grammars``.
        aborted: prompts that are given up after a few steps; their answers are empty.
        salt: that they name, if any.
    """

    name: str
    prompts: list[list[int]]
    params: list[dict[str, Any]]
    broken: str = ""
    aborted: tuple[int, ...] = ()
    salt: str = ""


@dataclass(frozen=True)
class Engine:
    """One engine: LLM's arguments over :data:`COMMON`, and the cases it answers in turn."""

    name: str
    model: str
    cases: list[Case]
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """What one case gave.

    Attributes:
        tokens: of each prompt; with ``n`` above 1 all its answers, one after the other.
        logprobs: of each prompt, at each place of its answer (and of the prompt, if asked for) the
            log-probabilities that came.
        refused: why the engine did not start.
    """

    tokens: list[list[int]]
    logprobs: list[list[dict[str, float]]]
    counters: dict[str, float]
    refused: str = ""


def run(engine: Engine) -> Iterator[tuple[str, Answered]]:
    """Start an engine and answer its cases."""
    from vllm import LLM

    llm = LLM(engine.model, **{**COMMON, **engine.arguments})
    config = llm.llm_engine.vllm_config
    assert config.use_v2_model_runner == ON_V2
    assert config.scheduler_config.async_scheduling == ON_V2
    for case in engine.cases:
        before = counters(llm)
        with broken(llm, case.broken):
            outputs = answer(llm, case)
        grown = {name: value - before[name] for name, value in counters(llm).items()}
        found = [outputs.get(i) for i in range(len(case.prompts))]
        tokens = [[t for one in o.outputs for t in one.token_ids] if o else [] for o in found]
        logprobs = [_logprobs(o) if o else [] for o in found]
        yield f"{engine.name}/{case.name}", Answered(tokens, logprobs, grown)
        if case.broken:
            llm.reset_prefix_cache()  # what was broken must not be found again
    llm.llm_engine.engine_core.shutdown()


def answer(llm: Any, case: Case) -> dict[int, Any]:
    """Step until all prompts are answered; ``aborted`` ones are given up after six steps."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    engine, done, steps = llm.llm_engine, {}, 0
    for i, (prompt, params) in enumerate(zip(case.prompts, case.params, strict=True)):
        rules = params.get("structured_outputs")
        if rules:
            params = {**params, "structured_outputs": StructuredOutputsParams(**rules)}
        given = SamplingParams.from_optional(**params)  # takes JSON's keys
        named = {"cache_salt": case.salt} if case.salt else {}
        engine.add_request(str(i), {"prompt_token_ids": prompt, **named}, given)
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                done[int(output.request_id)] = output
        steps += 1
        if steps == 6 and case.aborted:
            engine.abort_request([str(i) for i in case.aborted])
    return done


def counters(llm: Any) -> dict[str, float]:
    found = {metric.name.removeprefix("vllm:"): metric for metric in llm.get_metrics()}
    hits = found["prefix_cache_hits"].value
    recorded = sys.modules.get("tests.interpreter.recording")
    replays = recorded.Recording.replays if recorded else 0
    return {"prefix_cache_hits": hits, "replays": replays} | {
        name: found[name].value if name in found else 0.0 for name in COUNTERS
    }


@contextmanager
def broken(llm: Any, part: str) -> Iterator[None]:
    """Switch one part of verification off meanwhile."""
    if not part:
        yield
        return
    core = llm.llm_engine.engine_core.engine_core
    runner = core.model_executor.driver_worker.worker.model_runner
    manager = core.structured_output_manager
    places = {
        "penalties": stock(runner.sampler, "PenaltiesState"),
        "bad words": stock(runner.sampler, "BadWordsState"),
        "grammars": (manager, "grammar_bitmask", partial(type(manager).grammar_bitmask, manager)),
        "mask": (runner.speculator.graphs, "run", lambda count: _causal(runner.speculator, count)),
        "positions": (runner.model_state, "place", lambda *_: None),
        "kv_move": (runner.rejection_sampler, "move", lambda *_: None),
    }
    with patch.object(*places[part]):
        yield


def stock(sampler: Any, name: str) -> tuple[Any, str, Any]:
    """vLLM's own rule in the place of ours: rows before a row count as its text."""
    rule = next(rule for rule in sampler.logits_processors if type(rule).__name__ == name)
    return rule, "apply", partial(type(rule).apply, rule)


def _causal(speculator: Any, count: int) -> None:
    """Draft, and let every row see all before it."""
    type(speculator.graphs).run(speculator.graphs, count)
    mask = speculator.topology.mask
    mask.copy_(mask.new_ones(mask.shape).tril())


def _logprobs(output: Any) -> list[dict[str, float]]:
    told = [*(output.prompt_logprobs or ()), *(output.outputs[0].logprobs or ())]
    return [{str(k): v.logprob for k, v in (at or {}).items()} for at in told]


def forbid_reads() -> None:
    """From laying trees out to drafting the next, nothing may be read back from the device."""
    from longspec_plugin.vllm.v2.acceptance import TreeRejectionSampler
    from longspec_plugin.vllm.v2.model_state import TreeModelState
    from longspec_plugin.vllm.v2.rules import TreeRules
    from longspec_plugin.vllm.v2.speculator import TreeSpeculator
    from longspec_plugin.vllm.v2.topology import StepRows

    from .reads import guard

    guard(StepRows, "fill")
    guard(TreeModelState, "place")
    guard(TreeRules, "penalise", "forbid")
    guard(TreeRejectionSampler, "walk", "move")
    guard(TreeSpeculator, "stage")
    guard(TreeSpeculator, "draft", unless=lambda speculator: speculator.proposer.host)


def main(job: str, out: str) -> None:
    engines = [
        Engine(**{**engine, "cases": [Case(**case) for case in engine["cases"]]})
        for engine in json.loads(Path(job).read_text())
    ]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # parts are switched off in place
    if ON_V2:
        forbid_reads()
    found: dict[str, Any] = {}
    for engine in engines:
        try:
            for name, answered in run(engine):
                found[name] = asdict(answered)
                print(name, answered.counters, flush=True)
        except LongSpecError as error:
            found[f"{engine.name}/refused"] = asdict(Answered([], [], {}, str(error)))
        Path(out).write_text(json.dumps(found))
        gc.collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
