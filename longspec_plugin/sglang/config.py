"""From SGLang's command line to our options.

SGLang refuses flags that it does not know, so options live in the draft's ``config.json``
(``longspec_config``); the environment variable ``LONGSPEC_CONFIG``, a JSON object with the same
names, overrides them and reaches every process.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ..errors import LongSpecError, print_in_one_line
from ..options import LongSpecOptions
from . import NAME, gates
from .compat import SGLANG, installed

OVERRIDE = "LONGSPEC_CONFIG"
MAX_RUNNING_REQUESTS = 48
"""SGLang's own default beside a tree: each request reserves twice a tree's KV."""


def options_of(draft: str | None) -> LongSpecOptions:
    """The draft's options, with those of the environment over them."""
    given = os.environ.get(OVERRIDE, "").strip()
    try:
        override = json.loads(given) if given else {}
    except json.JSONDecodeError as error:
        raise LongSpecError(f"{OVERRIDE}={given!r} is not valid JSON: {error}") from None
    if not isinstance(override, dict):
        raise LongSpecError(f'{OVERRIDE}={given!r}: expected an object like {{"tree_shape": [2]}}')
    options = LongSpecOptions.from_config({"model": draft, **override})
    gates.check_options(options)
    return options


def check(server_args: Any) -> None:
    """Refuse what cannot work, in one line, before anything is loaded."""
    print_in_one_line()
    SGLANG.check_version(installed())
    SGLANG.check_hooks()
    proposer = options_of(server_args.speculative_draft_model_path).build()
    gates.check_arguments(server_args)
    from sglang.srt.arg_groups.model_override_base import model_config_of

    gates.check_target(model_config_of(server_args), proposer)


def complete(server_args: Any) -> None:
    """Fill in the arguments that size SGLang's buffers for our trees."""
    proposer = options_of(server_args.speculative_draft_model_path).build()
    server_args.speculative_num_draft_tokens = 1 + proposer.max_nodes  # SGLang counts the root
    server_args.speculative_num_steps = proposer.max_depth
    server_args.speculative_eagle_topk = 2  # "a tree"; more would only reserve more KV
    server_args.enable_mixed_chunk = False
    if server_args.max_running_requests is None:
        server_args.max_running_requests = MAX_RUNNING_REQUESTS
    if server_args.device == "cpu":
        server_args.disable_overlap_schedule = True
    elif server_args.attention_backend is None:
        server_args.attention_backend = gates.BACKENDS["cuda"][0]  # its own choice takes no mask


def let_drafts_be_read() -> None:
    """Make SGLang's look into a draft's ``config.json`` work, and a missing one be told clearly.

    Why: SGLang parses every draft's configuration with transformers, before it asks the algorithm.
    How: our model type is registered there, and the path is checked in front of that look. It can
    go when SGLang asks a registered algorithm first.
    """
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType
    from transformers import AutoConfig, PretrainedConfig

    class GlideDraftConfig(PretrainedConfig):  # type: ignore[misc]
        model_type = "glide"

    AutoConfig.register(GlideDraftConfig.model_type, GlideDraftConfig, exist_ok=True)

    def check_path(algorithm: str | None, draft: str | None, *args: Any, **kwargs: Any) -> None:
        if (algorithm or "").upper() == NAME:
            print_in_one_line()
            options_of(draft)

    HookRegistry.register(
        "sglang.srt.arg_groups.speculative_hook._resolve_speculative_algorithm_alias",
        check_path,
        HookType.BEFORE,
    )
