"""A tiny target on disk and feature shards with made-up contents."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

SIZES = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 50,
    "max_position_embeddings": 128,
    "num_hidden_layers": 2,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}


def write_target(folder: Path) -> Path:
    """A Llama checkpoint of two layers with random weights."""
    torch.manual_seed(3)
    hidden, inner, kv = 16, 24, 8
    tensors = {
        "model.embed_tokens.weight": torch.randn(50, hidden),
        "model.norm.weight": torch.ones(hidden),
    }
    for layer in range(2):
        p = f"model.layers.{layer}."
        shapes = {
            "q": (hidden, hidden),
            "k": (kv, hidden),
            "v": (kv, hidden),
            "o": (hidden, hidden),
        }
        tensors |= {
            f"{p}self_attn.{n}_proj.weight": torch.randn(s) * 0.2 for n, s in shapes.items()
        }
        shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        tensors |= {f"{p}mlp.{n}_proj.weight": torch.randn(s) * 0.2 for n, s in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{p}{norm}.weight"] = torch.ones(hidden)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.bfloat16() for k, v in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SIZES))
    return folder


def write_shard(folder: Path, number: int, sequences: int = 12) -> None:
    """Sequences of 20 to 40 tokens, prompts of 8."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(number)
    lengths = torch.randint(20, 41, (sequences,), generator=generator)
    total = int(lengths.sum())
    save_file(
        {
            "tokens": torch.randint(0, 50, (total,), dtype=torch.int32, generator=generator),
            "offsets": torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)]).int(),
            "prompt_len": torch.full((sequences,), 8, dtype=torch.int32),
            "greedy": torch.ones(sequences, dtype=torch.int32),
            "keys": torch.randn(total, 2, 4, generator=generator).bfloat16(),
            "values": torch.randn(total, 2, 4, generator=generator).bfloat16(),
            "hidden": torch.randn(total, 16, generator=generator).bfloat16(),
        },
        folder / f"shard-{number:05d}.safetensors",
    )
