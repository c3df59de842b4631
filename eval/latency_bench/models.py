"""What needs torch, transformers or ``proposers``: devices, models, ids; nothing else does."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from proposers.hydra import HydraConfig, HydraTransformer, PoE, load_hydra
from proposers.packed import pack_linears
from proposers.pretrained import load_causal_model, read_tokenizer

from ..cli.errors import UserError, one_line
from ..cli.hub import located
from .harness import HostWatch, Stopwatch
from .options import POE_RULES, Options, made_of
from .prompts import as_ids, as_text
from .shapes import SIZES

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FLUSH_BYTES = 2**28  # several times the L2 cache of any GPU
PLAIN = "{{ messages[0]['content'] }}"


def device_of(name: str) -> torch.device:
    """The device of that name; raise ``UserError`` for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(f"--device {name}: {count} GPUs are there; give one of them, or cpu")
    return device


def describe_device(device: torch.device) -> dict[str, Any]:
    """What the device is, for the provenance."""
    if device.type == "cuda":
        return {"type": str(device), "name": torch.cuda.get_device_name(device)}
    threads = torch.get_num_threads()
    return {"type": "cpu", "name": f"CPU, {threads} thread{'s' * (threads > 1)}"}


class DeviceWatch:
    """Events on a GPU around a call that finds it idle: what Python takes to launch counts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self.buffer = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)

    def flush(self) -> None:
        """Write more than the L2 cache holds."""
        self.buffer.zero_()

    def start(self) -> None:
        torch.cuda.synchronize(self.device)
        self.events[0].record(torch.cuda.current_stream(self.device))

    def stop(self) -> float:
        self.events[1].record(torch.cuda.current_stream(self.device))
        torch.cuda.synchronize(self.device)
        return float(self.events[0].elapsed_time(self.events[1]))


def stopwatch(device: torch.device) -> Stopwatch:
    """The one for that device."""
    return DeviceWatch(device) if device.type == "cuda" else HostWatch()


def inference() -> AbstractContextManager[None]:
    """What every timed call runs in."""
    return torch.inference_mode()


@contextmanager
def fitting(row: str) -> Iterator[None]:
    """Say in one line that a row does not fit the GPU's memory."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"--rows {row}: the GPU's memory does not hold it; give a smaller --size, --n-heads or"
            " --prompt-length, or leave the row out"
        ) from None


@contextmanager
def told() -> Iterator[None]:
    """Tell what ``proposers`` refuses as a user's mistake."""
    try:
        yield
    except ValueError as error:
        raise UserError(one_line(str(error))) from None


def free() -> None:
    """Give memory back between two rows, after the last reference to a model has gone."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def causal_model(
    size: str | Path, dtype: torch.dtype, device: torch.device | str, seed: int = 0
) -> Any:
    """A transformers model: random weights of a named size, or those in a target's folder."""
    device = device_of(str(device))
    if not isinstance(size, Path) and size in SIZES:
        shape = SIZES[size]
        torch.manual_seed(seed)
        with torch.device(device):
            config = AutoConfig.for_model(shape.model_type, **shape.config())
            model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    else:
        folder = located("size", Path(size))
        if not folder.exists():
            raise UserError(
                f"size={str(size)!r}: allowed: {', '.join(SIZES)}, or the folder of a model"
            )
        with told():
            model = load_causal_model(folder, dtype)
    return model.to(device).eval().requires_grad_(False)


class Baseline:
    """The model alone, run by the same code as a Hydra: all of its layers, one after the other.

    A Hydra whose heads are copies of the target's last layer, of which one is run: trunk and head 0
    are the target. So rows differ in what they compute and in nothing else.
    """

    def __init__(self, model: Any) -> None:
        self.hydra = _hydra(model, HydraConfig(2, 1), "target")
        self.init_kv_cache = self.hydra.init_kv_cache
        self.reset_kv_cache = self.hydra.reset_kv_cache
        self.roll_back = self.hydra.roll_back

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.hydra.device

    def forward(self, input_ids: Tensor, last_token_only: bool = False) -> Tensor:
        """``[B, T]`` ids to logits ``[B, T or 1, V]``; appends to the cache."""
        hidden = self.hydra.trunk_forward(input_ids)
        return self.hydra.head_forward(0, hidden, last_token_only=last_token_only)


def build_baseline_model(
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "auto",
    size: str | Path = "1b",
) -> Baseline:
    """A model without heads.

    Args:
        dtype: of the weights.
        device: "auto" (the GPU if there is one), "cpu", "cuda" or "cuda:N".
        size: "1b", "7b", "smollm2" or "tiny" for random weights (latency hangs on the architecture
            alone), or the folder of a transformers model for its own.
    """
    return Baseline(causal_model(size, dtype, device))


def build_hydra_model(
    n_heads: int = 5,
    heads_depth: int = 3,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "auto",
    size: str | Path = "1b",
) -> HydraTransformer:
    """A Hydra of ``n_heads`` heads of ``heads_depth`` layers; the trunk has the others.

    Args:
        dtype, device, size: as :func:`build_baseline_model`; heads are random for a named size, and
            copies of the target's last layers for a folder.
    """
    config = HydraConfig(n_heads, heads_depth)
    named = not isinstance(size, Path) and size in SIZES
    return _hydra(causal_model(size, dtype, device), config, "random" if named else "target")


def _hydra(model: Any, config: HydraConfig, heads: Literal["target", "random"]) -> HydraTransformer:
    hydra = HydraTransformer.from_target(model, config, heads=heads)
    pack_linears(hydra)
    return hydra


def _model_of(options: Options) -> Any:
    size = options.target or options.size
    return causal_model(size, DTYPES[options.dtype], options.device, options.seed)


def baseline_of(options: Options) -> Baseline:
    """The model that the options describe, without heads."""
    with told():
        return Baseline(_model_of(options))


def hydra_of(options: Options) -> HydraTransformer:
    """The Hydra that the options describe: random, of a target, or with real heads."""
    model = _model_of(options)
    with told():
        if options.heads is None:
            config = HydraConfig(options.n_heads, options.heads_depth)
            return _hydra(model, config, "target" if options.target else "random")
        hydra = load_hydra(model, options.heads)
    pack_linears(hydra)
    return hydra


def build_poe(
    cfg: Mapping[str, Any], dtype: torch.dtype = torch.bfloat16
) -> tuple[PoE, HydraTransformer]:
    """PoE over a Hydra, and that Hydra.

    Args:
        cfg: options by name, as ``config.json`` has them; what is missing is that file's. Reads
            ``poe_gamma`` (which ``poe.gamma`` may change between calls), ``poe_beta``,
            ``poe_temperature``, ``poe_max_new_tokens``, ``poe_draft_head``, ``n_heads``,
            ``heads_depth``, ``size``, ``target``, ``heads``, ``device`` and ``seed``.
        dtype: of the weights.

    Returns:
        ``(poe, model)``, by the original rule. Acceptance means something with real heads only
        (``target`` and ``heads``). A call returns ``poe_max_new_tokens`` tokens, as no token ends
        it.
    """
    named = {value: name for name, value in DTYPES.items()}
    return poe_of(made_of({**cfg, "dtype": named.get(dtype, dtype)}), "hydra_poe")


def poe_of(options: Options, row: str) -> tuple[PoE, HydraTransformer]:
    """PoE by the rule that the row names."""
    model = hydra_of(options)
    rule, trunk = POE_RULES[row]
    poe = PoE(
        model,
        tokenizer_of(options.target),
        gamma=options.poe_gamma,
        beta=options.poe_beta,
        temperature=options.poe_temperature,
        max_new_tokens=options.poe_max_new_tokens,
        draft_head=options.draft_head,
        rule=rule,
        trunk=trunk,
        seed=options.seed,
        eos_ids=(),
    )
    return poe, model


def forward_and_sample(model: Any, input_ids: Tensor) -> Tensor:
    """Append ``[B, T]`` ids to the model's cache; returns the likeliest next tokens ``[B, 1]``.

    Logits are made of the last position alone, as PoE's prefill does it.
    """
    return model.forward(input_ids, last_token_only=True)[:, -1].argmax(-1, keepdim=True)


@dataclass(frozen=True)
class Generated:
    """Tokens of one GLIDE call, accepted drafts among them, and target forwards after prefill."""

    tokens: int
    accepted: int
    steps: int


class Glide:
    """A target and its GLIDE draft, by the offline engine; greedy."""

    def __init__(self, options: Options) -> None:
        from proposers import load_glide_model

        self.options = options
        self.device = device_of(options.device)
        try:
            target, draft = Path(str(options.target)), Path(str(options.draft))
            self.model = load_glide_model(target, draft, self.device, DTYPES[options.dtype])
        except (ValueError, OSError, ImportError) as error:
            raise UserError(one_line(str(error))[:400]) from None

    def generate(self, row: str, prompt_ids: Tensor, tokens: int) -> Generated:
        """Generate so many tokens with the row's method; no token ends it."""
        given = (prompt_ids, prompt_ids.shape[1])
        common: dict[str, Any] = {"max_gen_len": tokens, "eos_id": -1}
        if row == "glide_chain":
            common["gamma"] = self.options.chain_gamma
            _, accepted, steps, _, _ = self.model.spec_generate(*given, **common)
        else:
            common["tree_shape"] = self.options.tree_shape
            _, accepted, steps, _, _ = self.model.tree_spec_generate(*given, **common)
        return Generated(tokens, accepted, steps)


class IdText:
    """Stands in for the tokenizer that random weights have none of."""

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> Any:
        """The ids that the last message names."""
        return {"input_ids": torch.tensor([as_ids(messages[-1]["content"])])}

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The ids as text."""
        return as_text(tokens)


def tokenizer_of(target: Path | None) -> Any:
    """The target's; text stands as it is where that has no chat template."""
    if target is None:
        return IdText()
    with told():
        tokenizer = read_tokenizer(target)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN
    return tokenizer
