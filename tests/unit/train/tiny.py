"""A tiny target on disk and a feature folder with made-up contents."""

import hashlib
import json
from itertools import count
from pathlib import Path

import torch
from safetensors.torch import save_file

from proposers.train.features.shards import KEEP, Source, bytes_per_token, held_out
from proposers.train.features.writer import Features, Writer

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
CONFIG = json.dumps(SIZES)


def embedding() -> torch.Tensor:
    """The target's embedding, which is its head as well: ``[50, 16]``."""
    return torch.randn(50, 16, generator=torch.Generator().manual_seed(4))


def write_target(folder: Path) -> Path:
    """A Llama checkpoint of two layers with random weights."""
    torch.manual_seed(3)
    hidden, inner, kv = 16, 24, 8
    tensors = {
        "model.embed_tokens.weight": embedding(),
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
    (folder / "config.json").write_text(CONFIG)
    return folder


def write_shard(folder: Path, number: int, sequences: int = 12, top: int = 0) -> None:
    """Sequences of 20 to 40 tokens, prompts of 8; every 24th is held out. Twice is as once."""
    if (folder / f"shard-{number:05d}.safetensors").exists():
        return
    generator = torch.Generator().manual_seed(number)
    source = Source(name="tiny", config_sha256=hashlib.sha256(CONFIG.encode()).hexdigest())
    with Writer(folder, source, bytes_per_token(2, 4, 16, top), top, 10**9) as writer:
        for i in range(sequences):
            writer.add(_sequence(_name(number, i), i, top, generator))


def _name(number: int, i: int) -> str:
    """An id of which the hash holds out every 24th sequence of a shard, the first included."""
    names = (f"{number}-{i}-{j}" for j in count())
    return next(name for name in names if held_out(name) == (i % KEEP == 0))


def _sequence(name: str, i: int, top: int, generator: torch.Generator) -> Features:
    length = int(torch.randint(20, 41, (1,), generator=generator))
    rows = {
        "keys": torch.randn(length, 2, 4, generator=generator),
        "values": torch.randn(length, 2, 4, generator=generator),
        "hidden": torch.randn(length, 16, generator=generator).bfloat16(),
    }
    if top:
        logits = (rows["hidden"] @ embedding().bfloat16().T).float()
        rows["log_norm"] = logits.logsumexp(-1)
        rows["top_logits"], rows["top_tokens"] = logits.topk(top)
    tokens = torch.randint(0, 50, (length,), generator=generator).tolist()
    return Features(name, ("code", "chat")[i % 2], tokens, 8, greedy=True, rows=rows)
