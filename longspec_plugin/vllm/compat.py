"""Which vLLM this adapter fits."""

from __future__ import annotations

from packaging.version import Version

from ..compat import Supported

_RUNNER = "vllm.v1.worker.gpu_model_runner:GPUModelRunner"
VLLM = Supported(
    engine="vLLM",
    low=Version("0.32"),
    high=Version("0.34"),
    override="LONGSPEC_ALLOW_VLLM_VERSION",
    hooks={
        "vllm.engine.arg_utils:EngineArgs.create_engine_config": ("usage_context", "headless"),
        f"{_RUNNER}._prepare_inputs": ("scheduler_output", "num_scheduled_tokens"),
        f"{_RUNNER}._build_attention_metadata": ("num_tokens", "num_reqs", "max_query_len"),
        f"{_RUNNER}._sample": ("logits", "spec_decode_metadata"),
        f"{_RUNNER}._input_fits_in_drafter": ("common_attn_metadata",),
        f"{_RUNNER}.propose_draft_token_ids": (
            "scheduler_output",
            "sampled_token_ids",
            "sampling_metadata",
            "hidden_states",
            "sample_hidden_states",
            "aux_hidden_states",
            "spec_decode_metadata",
            "common_attn_metadata",
            "slot_mappings",
        ),
        f"{_RUNNER}.initialize_kv_cache": ("kv_cache_config",),
        f"{_RUNNER}.load_model": ("load_dummy_weights",),
        "vllm.v1.worker.gpu_worker:Worker._make_model_runner": (),
        "vllm.v1.attention.backends.registry:register_backend": ("backend", "class_path"),
    },
)
