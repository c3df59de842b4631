"""A tiny target scaled by 4 and one draft in several layouts, in vLLM, in one process.

python -m tests.engine.published FOLDER OUT.json
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from proposers.glide.checkpoint import UNUSED, expected_shapes, save_glide
from proposers.glide.config import GlideConfig

FIRST, VOCAB, NEW = 64, 256, 24
"""Positions of the first training; the limit is four times as many."""
LENGTH = 3 * FIRST
TREE, CHAIN = [4, 4, 2], [1, 1, 1]
LAYOUTS = ("ours", "bin", "shards")
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": FIRST,
    "rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0},
    "initializer_range": 0.4,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def prompts() -> list[list[int]]:
    """Three times as long as the first training's positions."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(3, VOCAB, (3, LENGTH), generator=generator).tolist()


def make(folder: Path) -> None:
    """``target``, in shards; ``ours``; and the same draft as on the hub: ``shards``, ``bin``."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES), dtype=torch.float32)
    model.save_pretrained(folder / "target", max_shard_size="100KB")
    data = json.loads((folder / "target" / "config.json").read_text())
    config = GlideConfig.published(data, folder)
    state = _draft(config)
    save_glide(folder / "ours", config, state)
    whole = state | {n: torch.randn(32, 64) if "weight" in n else torch.randn(32) for n in UNUSED}
    for name in ("shards", "bin"):
        (folder / name).mkdir()
        shutil.copy(folder / "target" / "config.json", folder / name)
    torch.save(whole, folder / "bin" / "pytorch_model.bin")
    names, index = sorted(whole), {}
    for number, part in enumerate((names[:10], names[10:]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({n: whole[n].contiguous() for n in part}, folder / "shards" / file)
        index |= dict.fromkeys(part, file)
    told = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "shards" / "model.safetensors.index.json").write_text(told)


def _draft(config: GlideConfig) -> dict[str, torch.Tensor]:
    """Random, and small behind the embedding: it repeats its input, as the target often does."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.ones(shape)
        if "layernorm" in name
        else 0.1 * torch.randn(shape, generator=generator)
        for name, shape in expected_shapes(config).items()
    }


def served(target: Path, draft: Path | None, shape: list[int]) -> dict[str, Any]:
    """Greedy tokens of the prompts one after the other, accepted drafts, and steps."""
    from vllm import LLM, SamplingParams

    spec = None
    if draft is not None:
        spec = {"method": "longspec", "model": str(draft), "tree_shape": shape}
        spec["follow_load"] = False
    llm = LLM(
        str(target),
        speculative_config=spec,
        dtype="float32",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_num_seqs=1,
        kv_cache_memory_bytes=32 << 20,
        gpu_memory_utilization=0.2,
        disable_log_stats=False,
    )
    given = [{"prompt_token_ids": ids} for ids in prompts()]
    params = SamplingParams(temperature=0, max_tokens=NEW, ignore_eos=True, detokenize=False)
    found = [list(o.outputs[0].token_ids) for o in llm.generate(given, params, use_tqdm=False)]
    counts = dict.fromkeys(("num_accepted_tokens", "num_drafts"), 0.0)
    for metric in llm.get_metrics():
        if metric.name.removeprefix("vllm:spec_decode_") in counts:
            counts[metric.name.removeprefix("vllm:spec_decode_")] += metric.value
    limit = llm.llm_engine.model_config.max_model_len
    llm.llm_engine.engine_core.shutdown()
    gc.collect()
    return {"tokens": found, "limit": limit, **counts}


def main(folder: Path, out: Path) -> None:
    arms = {
        "vanilla": (None, TREE),
        "chain": (folder / "ours", CHAIN),
        **{name: (folder / name, TREE) for name in LAYOUTS},
    }
    found = {name: served(folder / "target", *arm) for name, arm in arms.items()}
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
