"""Random targets of the architectures in JOB.json, each with and without trees, in one process.

python -m tests.engine.architectures JOB.json OUT.json
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from longspec_plugin.errors import LongSpecError

COMMON: dict[str, Any] = {
    "dtype": "float32",
    "skip_tokenizer_init": True,
    "enforce_eager": True,
    "max_model_len": 128,
    "max_num_seqs": 4,
    "kv_cache_memory_bytes": 32 << 20,
    "gpu_memory_utilization": 0.2,
    "disable_log_stats": False,
}
TREES = {"method": "longspec", "proposer": "prompt_lookup", "tree_shape": [2, 2, 1]}


def make(name: str, sizes: dict[str, Any], folder: Path) -> Path:
    """A random model whose answers soon repeat themselves."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(name, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def answer(model: Path, spec: dict[str, Any] | None) -> tuple[list[list[int]], float]:
    """Greedy tokens of four prompts, and how many drafts were accepted."""
    from vllm import LLM, SamplingParams

    llm = LLM(str(model), speculative_config=spec, **COMMON)
    prompts = [{"prompt_token_ids": [5 + i, 9, 14 + i, 9, 14 + i, 9]} for i in range(4)]
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, detokenize=False)
    tokens = [list(o.outputs[0].token_ids) for o in llm.generate(prompts, params, use_tqdm=False)]
    name = "vllm:spec_decode_num_accepted_tokens"
    accepted = sum(m.value for m in llm.get_metrics() if m.name == name)
    llm.llm_engine.engine_core.shutdown()
    return tokens, accepted


def try_one(model: Path) -> dict[str, Any]:
    """What both engines said."""
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    found: dict[str, Any] = {"plain": answer(model, None)[0]}
    stock = BaseModelLoader.load_model
    with patch.object(BaseModelLoader, "load_model", autospec=True, side_effect=stock) as load:
        try:
            found["trees"], found["accepted"] = answer(model, TREES)
        except LongSpecError as error:
            found["refused"] = str(error)
    gc.collect()
    return {**found, "loaded": load.called}


def main(job: str, out: str) -> None:
    found: dict[str, Any] = {}
    for name, sizes in json.loads(Path(job).read_text()).items():
        found[name] = try_one(make(name, sizes, Path(out).parent / name))
        print(name, {k: v for k, v in found[name].items() if k not in ("plain", "trees")})
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
