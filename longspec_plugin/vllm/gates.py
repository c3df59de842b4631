"""What works beside trees, what is refused at start, and what is left undrafted per request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proposers.base import Proposer, TargetShape
from proposers.load.schedule import KEY
from proposers.rotary import keys_of

from ..gates import Gate, Rule, check_draft_fits
from ..native import few_rows
from ..options import FEW_ROWS, FOLLOW, LongSpecOptions

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import EngineArgs

    from .runners import Runner

GATE = Gate("method 'longspec'")


def check_arguments(args: EngineArgs, runner: Runner) -> None:
    """Refuse flags that vLLM would otherwise turn down later, or quietly override."""
    tokens = getattr(args, "spec_tokens", None) is not None
    tree = 'give the tree as "tree_shape", for instance [4, 4, 2, 1]'
    GATE.check(
        [
            (
                args.async_scheduling and runner.version == "V1",
                "--async-scheduling",
                "leave it out (without a GPU scheduling is synchronous)",
            ),
            (args.enable_lora, "--enable-lora", "serve the merged model instead"),
            (tokens, "--spec-tokens", tree),
        ]
    )


def following(options: LongSpecOptions, args: EngineArgs, runner: Runner) -> LongSpecOptions:
    """Settle what depends on where it is served: whether trees follow the measured load, where one
    host waits for each step, and whose products the target's are."""
    able = runner.version == "V1" and args.tensor_parallel_size == 1
    if options.follow_load and not able:
        instead = f"leave it out, or tell nodes by hand as {KEY}"
        raise GATE.refusal(f"{FOLLOW}=true without a host that waits for each step", instead)
    wanted = able if options.follow_load is None else options.follow_load
    return replace(options, follow_load=wanted, few_rows=_few_rows(options, runner))


def _few_rows(options: LongSpecOptions, runner: Runner) -> bool:
    """Settled here, as what is compiled depends on it."""
    tried = options.few_rows is not False and runner.version == "V1"
    able = tried and few_rows.available()
    if options.few_rows and not able:
        needs = "a CPU with AVX-512 BF16 and no AMX, or with AVX2 alone, and a C++ compiler"
        raise GATE.refusal(f"{FEW_ROWS}=true without {needs}", "leave it out")
    return able


def check_config(config: VllmConfig, proposer: Proposer, runner: Runner) -> None:
    """Refuse engine features that trees do not fit, and drafts made for another target."""
    GATE.check([*_rules(config), *_rules_of_ranks(config, proposer)])
    GATE.check(_rules_v1(config) if runner.version == "V1" else _rules_v2(config))
    check_draft_fits(proposer, target_shape(config))


def _rules(config: VllmConfig) -> list[Rule]:
    model, parallel, cache = config.model_config, config.parallel_config, config.cache_config
    text = model.hf_text_config
    return [
        (
            parallel.pipeline_parallel_size > 1,
            f"--pipeline-parallel-size {parallel.pipeline_parallel_size}",
            "allowed: 1",
        ),
        (
            getattr(parallel, "decode_context_parallel_size", 1) > 1,
            "--decode-context-parallel-size above 1",
            "allowed: 1",
        ),
        (
            getattr(parallel, "prefill_context_parallel_size", 1) > 1,
            "--prefill-context-parallel-size above 1",
            "allowed: 1",
        ),
        (parallel.use_ubatching, "micro-batching (--enable-dbo)", "leave it out"),
        (
            str(cache.cache_dtype) not in ("auto", "bfloat16", "float16", "float32"),
            f"--kv-cache-dtype {cache.cache_dtype}",
            "allowed: auto",
        ),
        (config.kv_transfer_config is not None, "--kv-transfer-config", "leave it out"),
        (config.lora_config is not None, "LoRA", "serve the merged model instead"),
        (
            model.runner_type != "generate",
            f"--runner {model.runner_type}",
            "allowed: generate",
        ),
        (model.use_mla, "a target with MLA attention", "use one with plain or grouped attention"),
        (
            model.is_encoder_decoder or model.uses_mrope or model.is_multimodal_model,
            f"the target architecture {model.architectures[0]}",
            "use a decoder-only text model",
        ),
        (
            model.is_hybrid or not model.is_text_generation_model
            if hasattr(model, "is_text_generation_model")
            else model.is_hybrid,
            f"the hybrid target {model.architectures[0]}",
            "use a model with attention in every layer",
        ),
        (
            getattr(text, "sliding_window", None) and getattr(text, "use_sliding_window", True),
            f"a target with sliding-window attention ({getattr(text, 'sliding_window', None)})",
            "use one with full attention",
        ),
        (
            bool(model.logits_processors),
            "--logits-processors",
            "leave it out (it may index rows of the batch)",
        ),
    ]


def _rules_of_ranks(config: VllmConfig, proposer: Proposer) -> list[Rule]:
    """Tensor parallelism deals heads out, or gives neighbours the same KV head."""
    size, heads = config.parallel_config.tensor_parallel_size, target_shape(config)
    kv_heads, flag = heads.num_key_value_heads, f"--tensor-parallel-size {size}"
    return [
        (
            size > 1 and not getattr(proposer, "sharded", False),
            f"{flag} with proposer {type(proposer).__name__}",
            "allowed: 1, or a proposer that heeds target.shard and says `sharded = True`",
        ),
        (
            kv_heads % size and size % kv_heads,
            f"{flag} with a target of {kv_heads} KV heads",
            "allowed: divisors and multiples of their number",
        ),
    ]


def _rules_v1(config: VllmConfig) -> list[Rule]:
    return [
        (
            config.scheduler_config.async_scheduling,
            "asynchronous scheduling",
            "leave --async-scheduling out",
        ),
    ]


def _rules_v2(config: VllmConfig) -> list[Rule]:
    model, parallel = config.model_config, config.parallel_config
    return [
        (
            getattr(parallel, "enable_batch_sharded_sampling", False),
            "--enable-batch-sharded-sampling",
            "leave it out (a tree is verified as a whole)",
        ),
        (
            getattr(model, "return_sampling_mask", False),
            "--return-sampling-mask",
            "leave it out",
        ),
        (
            getattr(model, "enable_trace_replay", False),
            "--enable-trace-replay",
            "leave it out",
        ),
        (
            getattr(config, "watermark_config", None) is not None,
            "watermarking",
            "leave it out",
        ),
    ]


def target_shape(config: VllmConfig) -> TargetShape:
    """The target's sizes, out of vLLM's configuration."""
    model = config.model_config
    text = model.hf_text_config
    return TargetShape(
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        num_attention_heads=text.num_attention_heads,
        num_key_value_heads=getattr(text, "num_key_value_heads", text.num_attention_heads),
        head_dim=model.get_head_size(),
        max_position_embeddings=min(model.max_model_len, text.max_position_embeddings),
        rope=keys_of(text),
    )
