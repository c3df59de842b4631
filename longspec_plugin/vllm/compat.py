"""Which vLLM this adapter fits: versions, and the signatures of every method it leans on."""

from __future__ import annotations

import inspect
import os
from importlib import import_module

from packaging.version import Version

from ..errors import LongSpecError

SUPPORTED = (Version("0.32"), Version("0.34"))
OVERRIDE = "LONGSPEC_ALLOW_VLLM_VERSION"

_RUNNER = "vllm.v1.worker.gpu_model_runner:GPUModelRunner"
HOOKS: dict[str, tuple[str, ...]] = {
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
}
"""Method -> the parameters it must begin with (``self`` apart)."""


def check_version(installed: str) -> None:
    """Raise LongSpecError for a vLLM that this adapter was not written for."""
    low, high = SUPPORTED
    if low <= Version(Version(installed).base_version) < high or os.environ.get(OVERRIDE) == "1":
        return
    raise LongSpecError(
        f"vLLM {installed} is not supported; allowed: >={low},<{high}."
        f" Install one of these, or set {OVERRIDE}=1 to try anyway"
    )


def check_hooks() -> None:
    """Raise LongSpecError if a method that we override has gone or takes other arguments."""
    for path, expected in HOOKS.items():
        found = _parameters(path)
        if found is None or found[: len(expected)] != expected:
            raise LongSpecError(
                f"this vLLM's {path} takes {found}, expected {expected} first;"
                f" install a vLLM >={SUPPORTED[0]},<{SUPPORTED[1]}"
            )


def _parameters(path: str) -> tuple[str, ...] | None:
    module, _, names = path.partition(":")
    try:
        found = import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return None
    return tuple(name for name in inspect.signature(found).parameters if name != "self")  # type: ignore[arg-type]
