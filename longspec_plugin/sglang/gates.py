"""What works beside trees, and what is refused at start."""

from __future__ import annotations

from typing import Any

from proposers.base import Proposer, TargetShape
from proposers.load.schedule import KEY
from proposers.rotary import keys_of

from ..gates import Gate, Rule, check_draft_fits
from ..options import FEW_ROWS, FOLLOW, LongSpecOptions
from . import NAME

GATE = Gate(NAME)
BACKENDS = {"cpu": ("torch_native",), "cuda": ("triton", "flashinfer")}
KV_TYPES = ("auto", "bf16", "bfloat16")
TREE_FLAGS = (
    "speculative_num_draft_tokens",
    "speculative_num_steps",
    "speculative_eagle_topk",
    "speculative_draft_window_size",
)


def check_options(options: LongSpecOptions) -> None:
    """Refuse what only vLLM's trees do: SGLang's have one size, and its products are its own."""
    instead = "take it away with null, here trees have one size"
    GATE.check(
        [
            (options.schedule, KEY, instead),
            (options.follow_load, f"{FOLLOW}=true", instead),
            (options.few_rows, f"{FEW_ROWS}=true", "take it away with null"),
        ]
    )


def check_arguments(args: Any) -> None:
    """Refuse arguments that trees do not fit."""
    for name in TREE_FLAGS:
        if (value := getattr(args, name, None)) is not None:
            flag = f"--{name.replace('_', '-')} {value}"
            raise GATE.refusal(
                flag, 'give the tree as "tree_shape" in LONGSPEC_CONFIG or config.json'
            )
    GATE.check(_rules(args))
    device = str(args.device)
    if device not in BACKENDS:
        raise GATE.refusal(f"--device {device}", f"allowed: {', '.join(BACKENDS)}")
    _check_backends(args, BACKENDS[device])


def _rules(args: Any) -> list[Rule]:
    get = lambda name: getattr(args, name, None)  # noqa: E731  (fields differ between versions)
    sizes = ("tp_size", "pp_size", "dp_size", "dcp_size", "attn_cp_size")
    flags = (
        ("enable_dp_attention", "leave it out"),
        ("enable_lora", "serve the merged model instead"),
        ("enable_two_batch_overlap", "leave it out"),
        ("enable_pdmux", "leave it out"),
        ("enable_hisparse", "leave it out"),
        ("enable_hierarchical_cache", "leave it out"),
        ("enable_watermark", "leave it out"),
        ("speculative_adaptive", "leave it out (trees have one size)"),
        ("dllm_algorithm", "leave it out"),
    )
    rules = [((get(n) or 1) > 1, f"--{n.replace('_', '-')} {get(n)}", "allowed: 1") for n in sizes]
    rules += [(get(name), f"--{name.replace('_', '-')}", fix) for name, fix in flags]
    mode = get("return_hidden_states_mode")  # SGLang sets each of the two flags by the other
    kv, disaggregation = get("kv_cache_dtype") or "auto", get("disaggregation_mode") or "null"
    return [
        *rules,
        (
            mode or get("enable_return_hidden_states"),
            f"--return-hidden-states-mode {mode} or --enable-return-hidden-states",
            "leave it out",
        ),
        (kv not in KV_TYPES, f"--kv-cache-dtype {kv}", "allowed: auto"),
        (
            disaggregation != "null",
            f"--disaggregation-mode {disaggregation}",
            "leave it out",
        ),
    ]


def _check_backends(args: Any, allowed: tuple[str, ...]) -> None:
    for name in ("attention_backend", "decode_attention_backend", "prefill_attention_backend"):
        chosen = getattr(args, name, None)
        if chosen is not None and chosen not in allowed:
            flag = f"--{name.replace('_', '-')} {chosen}"
            raise GATE.refusal(flag, f"allowed on {args.device}: {', '.join(allowed)}")


def check_target(model: Any, proposer: Proposer) -> None:
    """Refuse targets that the draft or the trees do not fit.

    Args:
        model: SGLang's ``ModelConfig``.
    """
    architecture = model.hf_config.architectures[0]
    rules = [
        (model.attention_arch.name != "MHA", "a target with MLA attention"),
        (model.is_encoder_decoder or model.is_multimodal, f"the target {architecture}"),
        (model.is_hybrid_swa or model.sliding_window_size, "a target with sliding windows"),
        (not model.is_generation, f"the target {architecture}"),
    ]
    fix = "use a decoder-only text model with full attention"
    GATE.check((found, what, fix) for found, what in rules)
    check_draft_fits(proposer, target_shape(model))


def target_shape(model: Any) -> TargetShape:
    """The target's sizes, out of SGLang's ``ModelConfig``."""
    text = model.hf_text_config
    return TargetShape(
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads,
        head_dim=model.head_dim,
        max_position_embeddings=text.max_position_embeddings,
        rope=keys_of(text),
    )
