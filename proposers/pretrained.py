"""Targets in the layout of transformers: read in one place, and refused unless they are whole.

All who load a target come here: the offline engine, features, training, the latency benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from .hub import model_folder
from .rotary import Rotary, RotaryConfig, keys_of
from .weights import Weights, check_whole

BUFFERS = ".rotary_emb.inv_freq"
"""Old Llama checkpoints hold these, which follow from the config."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def read_config(target: str | Path) -> Any:
    """transformers' configuration of a target.

    Args:
        target: its folder, or its name on the hub.

    Raises:
        ValueError: in one line, where there is none or it is unknown.
    """
    path = model_folder(target)
    if not (path / "config.json").is_file():
        raise ValueError(
            f"target {path} has no config.json; give the folder of a transformers model"
        )
    try:
        with _quiet():
            return AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a config's values bring about in its class
        raise ValueError(f"target {path}: config.json: {_reason(error)}") from None


def check_files(target: str | Path, config: Any | None = None) -> Weights:
    """Look at all files of a target's weights without loading them.

    Raises:
        ValueError: in one line, for a tensor that is missing, unknown or of another shape, and for
            a file that is missing or cut.
    """
    path = model_folder(target)
    config = read_config(path) if config is None else config
    if getattr(config, "quantization_config", None):
        raise ValueError(
            f"target {path} is quantized; engines serve it, here give the weights it was made of"
        )
    try:
        weights = Weights(path)
    except ValueError as error:
        raise ValueError(f"target {path} cannot be loaded: {error}") from None
    expected = _expected(config)
    found = {name: s for name, s in weights.shapes.items() if not name.endswith(BUFFERS)}
    if config.tie_word_embeddings:
        found.setdefault("lm_head.weight", expected.get("lm_head.weight", torch.Size()))
    check_whole(f"target {path}", expected, found)
    return weights


def load_causal_model(
    target: str | Path,
    dtype: torch.dtype | None = None,
    attention: str = "sdpa",
    config: Any | None = None,
) -> Any:
    """A target's model on the CPU, for inference; no remote code, nothing but tensors unpickled.

    Args:
        dtype: of its weights; None is the target's own.
        attention: transformers' name of the attention.
        config: if it has been read already.

    Raises:
        ValueError: in one line, as :func:`check_files`.
    """
    path = model_folder(target)
    config = read_config(path) if config is None else config
    check_files(path, config)
    logging.disable_progress_bar()  # it would break ours
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype or "auto",
            attn_implementation=attention,
            trust_remote_code=False,
            local_files_only=True,
            weights_only=True,
        )
    except Exception as error:  # transformers has its own for everything
        raise ValueError(f"target {path} cannot be loaded: {_reason(error)}") from None
    return model.eval().requires_grad_(False)


def read_tokenizer(target: str | Path) -> Any:
    """A target's tokenizer.

    Raises:
        ValueError: in one line, where there is none: transformers would make an empty one.
    """
    path = model_folder(target)
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise ValueError(
            f"target {path} has no tokenizer; expected one of {', '.join(TOKENIZERS)}: add the"
            " target's"
        )
    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises what it likes
        raise ValueError(f"target {path}: its tokenizer cannot be read: {_reason(error)}") from None


class Turning(nn.Module):
    """Stands in for transformers' rotary embeddings that change within a text as it grows.

    There, a token's key is turned by how long the text was when it came, so trees, which come
    earlier than their tokens, would change it. Here the whole of a call is turned by how long it
    may become.
    """

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.rotary = rotary

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.rotary.tables(position_ids, x.dtype)


def settle_rotary(model: Any) -> Rotary:
    """A model's rotary embedding, and nothing in the model that changes it by itself."""
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    read = RotaryConfig.of(keys_of(config) or {}, head_dim)
    rotary = Rotary(read, head_dim, model.get_input_embeddings().weight.device)
    if read.grows:
        model.base_model.rotary_emb = Turning(rotary)
    return rotary


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own warnings, which name no file; ours follow."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _expected(config: Any) -> dict[str, torch.Size]:
    with torch.device("meta"), _quiet():
        model = AutoModelForCausalLM.from_config(config)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
