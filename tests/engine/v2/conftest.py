"""Model Runner V2: all engines in one process, its answers shared by the tests here.

Where there is a GPU they run on it, else on the CPU under Triton's interpreter.
``LONGSPEC_V2_PYTHON`` names another Python, such as that of ``recipes/setup/other_version.py``;
``LONGSPEC_V2_LONG=1`` asks for more: seeded answers of every engine, and the default target's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from proposers.load.schedule import KEY

from .bed import Answered, Case, Engine
from .model import ANSWER, THOUGHT, VOCABULARY, Tiny, make

ROOT = Path(__file__).resolve().parents[3]
COUNT = 12
LONG = os.environ.get("LONGSPEC_V2_LONG") == "1"
collect_ignore = [] if LONG else ["test_default_target.py"]
SLOW = pytest.mark.timeout(3600)
"""Interpreted, all engines together take some 7 minutes on a processor with AVX2 alone."""
GREEDY = {"temperature": 0, "max_tokens": ANSWER, "ignore_eos": True}
SHORT = {**GREEDY, "max_tokens": 16}
LIMIT = "the length limit"
ON_GPU = torch.cuda.is_available()


def on_gpu(worker: str) -> dict[str, Any]:
    """Arguments for a GPU's own attention, cache and graphs, interpreted on a CPU. On a GPU all are
    of the Triton backend: FlashAttention takes no float32."""
    if ON_GPU:
        return {"enforce_eager": not worker.startswith("Capturing")}
    return {"worker_cls": f"tests.engine.v2.worker_triton.{worker}"}


BY_LOAD, ENDING = [[1, 2, 7], [3, 4, 3], [5, 64, 0]], [4, 8, 16, 20, 32, 32]
"""Nodes of a tree by batch size, and lengths of six answers: fewer and fewer requests are left."""
SALTS = {"ours": "ours", "ours again": "ours", "theirs": "theirs", "none": ""}
"""By case of the same prompts, one after the other."""
SMALL_MEMORY = {"remembered_answers": 9, "remembered_tokens": 16}
SAMPLED = {**SHORT, "temperature": 0.8}
MIXED = "greedy and seeded"
RANKS = {"tensor_parallel_size": 2}
CAN_SHARE = not ON_GPU or torch.cuda.device_count() > 1
RULES: list[dict[str, Any]] = [
    {},
    {"presence_penalty": 1.0, "repetition_penalty": 1.3},
    {"bad_words": ["w17", "w80"]},
    {"allowed_token_ids": list(range(4, 90))},
    {"min_tokens": 8, "ignore_eos": False},
    {"structured_outputs": {"regex": "(w1|w2|w3)( (w4|w5|w6)){3}"}, "ignore_eos": False},
    {"logprobs": 2},
]
"""What a request may ask for beside greedy answers. (Min-p and logit bias vLLM itself refuses
beside any speculative method.)"""
BUDGETS = [
    *({**SHORT, "thinking_token_budget": n} for n in (0, 3, 7)),
    {**SHORT, "thinking_token_budget": 5, "repetition_penalty": 1.2},
    *(SHORT, {**SHORT, "thinking_token_budget": 9, "temperature": 0.9, "seed": 2}),
]
"""Of thinking, which begins with the prompt's last token here (``bed.THINKING``)."""
RULED = [rule for rule in RULES if rule and "logprobs" not in rule]
PENALTIES: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 2.0},
    {"frequency_penalty": 2.0},
    {"presence_penalty": 2.0, "logprobs": 2},
    {"repetition_penalty": 1.1, "frequency_penalty": 1.0, "presence_penalty": 0.5},
    {"repetition_penalty": 1.5, "temperature": 0.8, "seed": 3, "logprobs": 2},
    {"repetition_penalty": 1.05},
    {"repetition_penalty": 0.7},
    {"frequency_penalty": 0.4},
    {"presence_penalty": -1.0, "logprobs": 2},
    {"repetition_penalty": 0.9, "frequency_penalty": -0.5},
    {"frequency_penalty": -1.5, "temperature": 0.8, "seed": 4, "top_p": 0.9},
]
EVEN, ODD = "w[2468][0-9]{0,2}", "w[13579][0-9]{0,2}"
GRAMMARS: list[dict[str, Any]] = [
    {"structured_outputs": {"regex": f"({EVEN}{ODD}){{40}}"}},
    {"structured_outputs": {"regex": f"(({EVEN}){{3}}{ODD}){{40}}"}},
    {"structured_outputs": {"regex": f"({ODD}|({EVEN}){{2}}){{80}}"}, "repetition_penalty": 1.3},
    {},
    {"structured_outputs": {"regex": f"({ODD}{EVEN}|{EVEN}{ODD}{ODD}){{40}}"}, "logprobs": 2},
    {"structured_outputs": {"regex": f"({EVEN}{ODD}){{40}}"}, "temperature": 0.8, "seed": 3},
]
"""Which words may follow depends on the path to them; trees, beside a request without rules."""
BROKEN = dict.fromkeys(("mask", "positions", "kv_move"), ("glide", "greedy"))
BROKEN |= {part: ("ruled", part) for part in ("penalties", "bad words", "grammars")}
"""Parts that are switched off, and the engine and case that each then spoils."""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make(tmp_path_factory.mktemp("tiny"), COUNT)


def cases(prompts: list[list[int]]) -> list[Case]:
    """What the plain engine answers, and the engine with trees must."""
    few = prompts[:4]
    kinds = {"temperature": 0.9, "top_k": 20, "top_p": 0.9}
    long = [(prompts[i] * 40)[:230] for i in range(2)]
    stop = {**GREEDY, "stop": ["w1", "w9"], "ignore_eos": False}
    return [
        Case("greedy", prompts, [GREEDY] * COUNT),
        seeded(prompts),
        Case("top-k, top-p", few, [{**SHORT, **kinds, "seed": i} for i in range(4)]),
        Case("rules", prompts[: len(RULES)], [{**SHORT, **rule} for rule in RULES]),
        Case("only rules", prompts[: len(RULED)], [{**SHORT, **rule} for rule in RULED]),
        Case("n and prompt logprobs", few[:2], [{**SHORT, "n": 2, "temperature": 0.7, "seed": 5},
                                                {**SHORT, "prompt_logprobs": 2, "logprobs": 2}]),
        Case(LIMIT, long, [{**GREEDY, "max_tokens": 100}] * 2),
        Case("stop strings", few, [stop] * 4),
        Case("thinking", [[*prompt, THOUGHT] for prompt in prompts[:6]], BUDGETS),
        mixed(prompts),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def answered(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answered]:
    """Every case of every engine, by ``engine/case``."""
    folder = tmp_path_factory.mktemp("v2")
    asked, ruled = cases(tiny.prompts), told_rules(tiny)
    plain = run(folder, [Engine("plain", str(tiny.target), [*asked, *ruled])])
    greedy, rules = folder / "greedy.json", folder / "rules.json"
    for path, kept in ((greedy, [asked[0]]), (rules, ruled)):
        pairs = [pair for case in kept for pair in answers(case, plain)]
        path.write_text(json.dumps(pairs))
    return plain | run(folder, with_trees(tiny, greedy, rules))


def answers(case: Case, plain: dict[str, Answered]) -> list[tuple[list[int], list[int]]]:
    """Prompts with what the plain engine answered."""
    return [*zip(case.prompts, plain[f"plain/{case.name}"].tokens, strict=True)]


def pieces(answer: list[int]) -> list[str]:
    """What would be said, three words at a time, as bad words."""
    words = [VOCABULARY[token] for token in answer]
    return [" ".join(words[i : i + 3]) for i in range(1, ANSWER - 3, 4)]


def told_rules(tiny: Tiny) -> list[Case]:
    """Prompts of three lengths: an oracle tells by its prompt which answer it must give."""
    words = [{"bad_words": pieces(answer)} for answer in tiny.answers[:6]]
    kinds = (("bad words", 1, words), ("penalties", 3, PENALTIES), ("grammars", 4, GRAMMARS))
    return [
        Case(
            name,
            [[*prompt, *prompt[1:more]] for prompt in tiny.prompts[: len(rules)]],
            [{**GREEDY, **rule} for rule in rules],
        )
        for name, more, rules in kinds
    ]


def broken(engine: str, asked: list[Case]) -> list[Case]:
    """The negative controls of an engine: fewer and shorter answers, without a part."""
    return [
        Case(
            f"without {part}",
            case.prompts[:6],
            [{**params, "max_tokens": 20} for params in case.params[:6]],
            part,
        )
        for part, spoilt in BROKEN.items()
        for case in asked
        if spoilt == (engine, case.name)
    ]


def seeded(prompts: list[list[int]]) -> Case:
    drawn = [{**SAMPLED, "seed": i, "logprobs": 3} for i in range(COUNT)]
    return Case("seeded", prompts, drawn)


def mixed(prompts: list[list[int]]) -> Case:
    return Case(MIXED, prompts[:6], [SHORT, {**SHORT, "temperature": 0.8, "seed": 1}] * 3)


def with_trees(tiny: Tiny, known: Path, rules: Path) -> list[Engine]:
    """GLIDE's trees in all cases and broken, with a GPU's attention; with lookups and too few
    blocks; an oracle's, of greedy answers and of those by rules; trees from Python; and GLIDE's on
    two ranks."""

    def engine(name: str, asked: list[Case], spec: dict[str, Any], **arguments: Any) -> Engine:
        config = {"method": "longspec", **spec}
        return Engine(name, str(tiny.target), asked, {"speculative_config": config, **arguments})

    prompts, draft = tiny.prompts, {"model": str(tiny.draft)}
    greedy = Case("greedy", prompts, [GREEDY] * COUNT)
    asked, ruled = cases(prompts), told_rules(tiny)
    tight = {
        "max_model_len": 96,
        "num_gpu_blocks_override": 8,
        "max_num_batched_tokens": 48,
    }
    lookup = {"proposer": "glide_lookup", "tree_shape": [2, 2], "nodes": 6, "remembered_answers": 4}
    tests = "tests.engine.v2.oracle:OracleTrees"
    aborted = Case("aborted", prompts, [GREEDY] * COUNT, aborted=tuple(range(0, COUNT, 2)))
    more = [seeded(prompts)] if LONG else []
    short = Case("short", prompts[:6], [SHORT] * 6)
    glide = {**draft, "proposer": "glide", "tree_shape": [3, 2, 2]}
    ranks = (
        [engine("ranks", [mixed(prompts)], glide, **on_gpu("TritonWorker"), **RANKS)]
        if CAN_SHARE
        else []
    )
    again = replace(next(case for case in asked if case.name == LIMIT), name="again")
    oracle = {"proposer": tests, "answers": str(known)}
    by_rules = {**oracle, "answers": str(rules)}
    stale = [] if ON_GPU else [engine("stale", [], oracle, **on_gpu("StaleMaskWorker"))]
    return [
        *stale,
        engine(
            "glide",
            [*asked, again, *broken("glide", asked)],
            glide,
            enable_prefix_caching=True,
            **on_gpu("CapturingFlashWorker"),
        ),
        engine(
            "tight", [greedy, aborted, *more], {**draft, **lookup}, **tight, **on_gpu("FlashWorker")
        ),
        engine("oracle", [greedy, *more], oracle, **on_gpu("CapturingTritonWorker")),
        engine("ruled", [*ruled, *broken("ruled", ruled)], by_rules, **on_gpu("FlashWorker")),
        engine(
            "load",
            [Case("ending", prompts[:6], [{**GREEDY, "max_tokens": n} for n in ENDING])],
            {**glide, KEY: BY_LOAD},
            **on_gpu("CapturingTritonWorker"),
        ),
        engine(
            "salted",
            [
                Case(name, prompts[:3], [{**GREEDY, "max_tokens": 10}] * 3, salt=salt)
                for name, salt in SALTS.items()
            ],
            {"proposer": "prompt_lookup", "tree_shape": [1, 1, 1], **SMALL_MEMORY},
        ),
        engine("host", [short], {"proposer": "examples.bigram_proposer:BigramProposer"}),
        *ranks,
    ]


def run(folder: Path, engines: list[Engine], v2: bool = True) -> dict[str, Answered]:
    """Answer a job in a process of its own."""
    job, out = folder / "job.json", folder / "out.json"
    job.write_text(json.dumps([asdict(engine) for engine in engines]))
    python = os.environ.get("LONGSPEC_V2_PYTHON", sys.executable)
    paths = [str(ROOT), str(ROOT / "tests" / "interpreter"), os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(filter(None, paths))
    env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    env |= {"LONGSPEC_V2": str(int(v2)), "LONGSPEC_INTERPRET": str(int(v2 and not ON_GPU))}
    env["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # or ranks on one NUMA node are refused
    env["TRITON_F32_DEFAULT"] = "ieee"  # or stock kernels multiply float32 in TF32
    line = [python, "-m", "tests.engine.v2.bed", str(job), str(out)]
    done = subprocess.run(line, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-9000:]
    return {name: Answered(**found) for name, found in json.loads(out.read_text()).items()}
