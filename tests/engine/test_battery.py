"""What users reported against speculation in other engines, asked of vLLM with trees."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from .battery import CASES, Seen, Server, prompts_given, same
from .serving import EMBEDDINGS, Client, Plain, accepted, serve

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_answers_as_without_trees(
    plain: Plain, trees: Client, case: Callable[[Server], Seen]
) -> None:
    before = accepted(trees)
    seen = [case(Server(client.http, client.model)) for client in (plain[0], trees)]
    same(*seen)
    print(f"{case.__name__}: {accepted(trees) - before:.0f} draft tokens accepted")


def embedding(target: Path) -> Callable[[str], str]:
    """How a client sends a prompt as the target's embeddings of its tokens."""
    tokenizer = AutoTokenizer.from_pretrained(target)
    with safe_open(next(target.glob("*.safetensors")), "pt") as weights:
        table = weights.get_tensor("model.embed_tokens.weight").float()

    def embed(text: str) -> str:
        held = io.BytesIO()
        torch.save(table[tokenizer(text)["input_ids"]].clone(), held)
        return base64.b64encode(held.getvalue()).decode()

    return embed


def test_prompts_as_embeddings(
    plain: Plain, speculative: dict[str, object], target_dir: Path, logs: Path
) -> None:
    """As without trees, and as the same prompts as text."""
    embed, stock = embedding(target_dir), Server(plain[0].http, plain[0].model)
    with serve(target_dir, logs / "embeddings.log", speculative, EMBEDDINGS) as trees:
        seen = prompts_given(Server(trees.http, trees.model), embed)
        found = accepted(trees)
    same(seen, prompts_given(stock, embed))
    same(seen, prompts_given(stock))
    print(f"embeddings: {found:.0f} draft tokens accepted")
    assert found > 50
