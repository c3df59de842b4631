"""A tiny target in a folder with tokenizer, heads and a GLIDE draft; one thread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.threads import one_thread as one_thread


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds ``heads`` with three different files, and ``draft``."""
    import torch
    from safetensors.torch import save_file

    from tests.unit.offline.tiny import VOCAB, tiny_draft, tiny_target

    folder = tmp_path_factory.mktemp("target")
    config = tiny_target(folder, initializer_range=0.1)
    tiny_draft(folder / "draft", config)
    heads = folder / "heads"
    heads.mkdir()
    last = f"model.layers.{config.num_hidden_layers - 1}.mlp.down_proj.weight"
    for head in range(3):
        weight = 0.1 * torch.randn(config.hidden_size, config.intermediate_size)
        save_file({last: weight}, heads / f"head-{head}.safetensors")
    index = {"n_heads": 3, "heads_depth": 1, "bridge": None}
    index["heads"] = [{"file": f"head-{head}.safetensors"} for head in range(3)]
    (heads / "index.json").write_text(json.dumps(index))
    _tokenizer(folder, VOCAB)
    return folder


def _tokenizer(folder: Path, vocab: int) -> None:
    """A word is a token, without a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, **{f"word{i}": i for i in range(1, vocab)}}
    made = Tokenizer(WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained(folder)
