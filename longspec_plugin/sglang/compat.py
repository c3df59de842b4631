"""Which SGLang this adapter fits."""

from __future__ import annotations

from importlib import metadata

from packaging.version import Version

from ..compat import Supported

_SAMPLING = "sglang.srt.sampling.sampling_batch_info:SamplingBatchInfo"
SGLANG = Supported(
    engine="SGLang",
    low=Version("0.5.22"),
    high=Version("0.6"),
    override="LONGSPEC_ALLOW_SGLANG_VERSION",
    hooks={
        "sglang.srt.managers.tp_worker:TpModelWorker.forward_batch_generation": (
            "batch",
            "forward_batch",
            "pp_proxy_tensors",
            "is_verify",
        ),
        "sglang.srt.layers.sampler:Sampler.forward": (
            "logits_output",
            "sampling_info",
            "return_logprob",
            "top_logprobs_nums",
            "token_ids_logprobs",
            "positions",
        ),
        f"{_SAMPLING}.apply_logits_bias": ("logits",),
        f"{_SAMPLING}.update_regex_vocab_mask": (),
        "sglang.srt.layers.attention.torch_native_backend:TorchNativeAttnBackend.forward_extend": (
            "q",
            "k",
            "v",
            "layer",
            "forward_batch",
            "save_kv_cache",
        ),
        "sglang.srt.mem_cache.allocation:assign_req_to_token_pool_func": (
            "req_pool_indices",
            "req_to_token",
            "start_offset",
            "end_offset",
            "out_cache_loc",
            "batch_size",
        ),
        "sglang.srt.mem_cache.allocation_sizing:get_req_to_token_extra_context_len": (),
        "sglang.srt.mem_cache.memory_pool:MHATokenToKVPool._init_kv_copy_and_warmup": (),
        "sglang.kernels.ops.attention.decode_attention:decode_attention_fwd": (
            "q",
            "k_buffer",
            "v_buffer",
            "o",
            "kv_indptr",
            "kv_indices",
            "attn_logits",
            "attn_lse",
            "num_kv_splits",
            "max_kv_splits",
            "sm_scale",
            "k_scale",
            "v_scale",
        ),
        "sglang.srt.speculative.spec_utils:move_accept_tokens_to_target_kvcache": (
            "batch",
            "accept_index",
            "num_correct_drafts",
            "token_to_kv_pool_allocator",
        ),
    },
)


def installed() -> str:
    """The version of SGLang in this environment."""
    return metadata.version("sglang")
