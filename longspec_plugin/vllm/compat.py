"""Which vLLM this adapter fits, and what it leans on in each of the two model runners."""

from __future__ import annotations

from dataclasses import replace

from packaging.version import Version

from ..compat import Supported

VLLM = Supported(
    engine="vLLM",
    low=Version("0.29"),
    high=Version("0.34"),
    override="LONGSPEC_ALLOW_VLLM_VERSION",
    hooks={
        "vllm.engine.arg_utils:EngineArgs.create_engine_config": ("usage_context", "headless"),
        "vllm.v1.attention.backends.registry:register_backend": ("backend", "class_path"),
        "vllm.v1.core.sched.output:NewRequestData.from_request": ("request", "block_ids"),
    },
)

_V1 = "vllm.v1.worker.gpu_model_runner:GPUModelRunner"
_EXECUTOR = "vllm.v1.executor.multiproc_executor:MultiprocExecutor"
V1_HOOKS = replace(
    VLLM,
    hooks={
        f"{_V1}._prepare_inputs": ("scheduler_output", "num_scheduled_tokens"),
        f"{_V1}._build_attention_metadata": ("num_tokens", "num_reqs", "max_query_len"),
        f"{_V1}._sample": ("logits", "spec_decode_metadata"),
        f"{_V1}._input_fits_in_drafter": ("common_attn_metadata",),
        f"{_V1}.propose_draft_token_ids": (
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
        f"{_V1}.take_draft_token_ids": (),
        f"{_V1}.initialize_kv_cache": ("kv_cache_config",),
        f"{_V1}.load_model": ("load_dummy_weights",),
        f"{_EXECUTOR}.execute_model": ("scheduler_output", "non_block"),
        f"{_EXECUTOR}.sample_tokens": ("grammar_output", "non_block"),
        f"{_EXECUTOR}.take_draft_token_ids": (),
        "vllm.v1.attention.backends.cpu_attn:CPUAttentionBackendImpl.do_kv_cache_update": (
            *("layer", "key", "value", "kv_cache", "slot_mapping"),
        ),
        "vllm.model_executor.layers.utils:dispatch_cpu_unquantized_gemm": (
            *("layer", "remove_weight"),
        ),
    },
)

_V2 = "vllm.v1.worker.gpu"
_STATE = f"{_V2}.model_states.default:DefaultModelState"
_REJECTION = f"{_V2}.spec_decode.rejection_sampler:RejectionSampler"
_GRAMMARS = "vllm.v1.structured_output:StructuredOutputManager"
_LAYOUT = (
    *("cu_num_logits", "idx_mapping", "idx_mapping_np", "expanded_idx_mapping"),
    *("expanded_local_pos", "seq_lens_upper_bound_np", "verify_draft_sampled"),
)
V2_HOOKS = replace(
    VLLM,
    engine="vLLM with Model Runner V2",
    low=Version("0.32"),
    hooks={
        f"{_V2}.model_runner:GPUModelRunner.__init__": ("vllm_config", "device"),
        f"{_V2}.model_runner:GPUModelRunner.load_model": ("load_dummy_weights",),
        f"{_V2}.spec_decode.speculator:BaseSpeculator.init_cudagraph_manager": ("cudagraph_mode",),
        f"{_V2}.spec_decode.speculator:BaseSpeculator.propose": (
            *("input_batch", "attn_metadata", "slot_mappings", "last_hidden_states"),
            *("aux_hidden_states", "num_sampled", "num_rejected", "last_sampled"),
            *("next_prefill_tokens", "temperature", "seeds"),
        ),
        f"{_STATE}.__init__": ("vllm_config", "model", "encoder_cache", "device"),
        f"{_STATE}.add_request": ("req_index", "new_req_data"),
        f"{_STATE}.prepare_inputs": ("input_batch", "req_states"),
        f"{_STATE}.prepare_dummy_inputs": ("num_reqs", "num_tokens"),
        f"{_STATE}.prepare_attn": (
            *("input_batch", "cudagraph_mode", "block_tables", "slot_mappings"),
            *("attn_groups", "kv_cache_config", "for_capture"),
        ),
        f"{_REJECTION}.__init__": ("sampler", "spec_config", "device"),
        f"{_REJECTION}.__call__": ("logits", "input_batch", "draft_logits", "invalid_drafts"),
        f"{_REJECTION}._verify": ("logits", "draft_logits", "draft_sampled", "pos", *_LAYOUT),
        f"{_REJECTION}._get_logprobs_tensors": (
            *("sampled", "num_sampled", "logits", "cu_num_logits", "cu_num_logits_np"),
            "max_num_logprobs",
        ),
        f"{_V2}.spec_decode.utils:DraftTokensHandler.set_draft_tokens": (
            *("input_batch", "draft_tokens"),
        ),
        f"{_GRAMMARS}.validate_tokens": ("request", "spec_tokens"),
        f"{_GRAMMARS}.grammar_bitmask": (
            *("requests", "structured_output_request_ids", "scheduled_spec_decode_tokens"),
        ),
        f"{_V2}.sample.penalties:PenaltiesState.apply": ("logits", "ctx"),
        f"{_V2}.sample.bad_words:BadWordsState.apply": ("logits", "ctx"),
        f"{_V2}.sample.sampler:Sampler.sample": (
            *("logits", "expanded_idx_mapping", "idx_mapping", "idx_mapping_np", "pos"),
            *("input_ids", "expanded_local_pos", "seq_lens_upper_bound_np", "return_logprobs"),
        ),
    },
)
