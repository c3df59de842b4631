"""``"method": "longspec"`` in a speculative config, rewritten into what stock vLLM knows.

What vLLM knows is a method that drafts without a model of vLLM's, one for each model runner
(:mod:`.runners`). Our options travel in ``additional_config["longspec"]``, a real field
of the configuration that is hashed and shipped to every process, and ``worker_cls`` names our
worker. Why a patch: the ``method`` field is a closed Literal. How: one method is wrapped. Upstream:
no registry for speculative methods in 0.32/0.33. It can go when there is one.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from proposers.base import Proposer
from proposers.load.schedule import KEY

from ..errors import print_in_one_line
from ..options import LongSpecOptions
from . import backends, runners, salts
from .compat import VLLM
from .gates import check_arguments, check_config, following

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import EngineArgs

METHOD = "longspec"
GRAPH = {"longspec_graph": 2}
"""Counts what we changed of the target's compiled graph: vLLM keeps graphs by the configuration,
and one that leaves the KV cache to attention must not serve a version whose attention does not."""


def install() -> None:
    """Wrap ``EngineArgs.create_engine_config``, once."""
    from vllm.engine.arg_utils import EngineArgs

    salts.install()
    original = EngineArgs.create_engine_config
    if getattr(original, "longspec", False):
        return

    @functools.wraps(original)
    def create_engine_config(self: EngineArgs, *args: Any, **kwargs: Any) -> VllmConfig:
        if not _asked_for(self):
            return original(self, *args, **kwargs)
        return _create(self, lambda: original(self, *args, **kwargs))

    create_engine_config.longspec = True  # type: ignore[attr-defined]
    EngineArgs.create_engine_config = create_engine_config  # type: ignore[method-assign]


def _asked_for(args: EngineArgs) -> bool:
    config = args.speculative_config
    named = config.get("method") if isinstance(config, dict) else None
    return METHOD in (named, getattr(args, "spec_method", None))


def _create(args: EngineArgs, original: Any) -> VllmConfig:
    import vllm

    print_in_one_line()
    VLLM.check_version(vllm.__version__)
    VLLM.check_hooks()
    runner = runners.choose()
    runner.hooks.check_version(vllm.__version__)
    runner.hooks.check_hooks()
    given = {**(args.speculative_config or {}), **_flags(args)}
    options = LongSpecOptions.from_config({k.replace("-", "_"): v for k, v in given.items()})
    proposer = options.build()
    check_arguments(args, runner)
    options = following(options, args, runner)
    changed = {
        "speculative_config": speculative(runner, options, proposer),
        "additional_config": {
            **(args.additional_config or {}),
            METHOD: options.to_json(),
            **GRAPH,
        },
        "worker_cls": runner.worker if args.worker_cls == "auto" else args.worker_cls,
        **dict.fromkeys(_flags(args, raw=True)),
    }
    before = {name: getattr(args, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(args, name, value)
        config: VllmConfig = original()
    finally:  # the arguments stay as the user gave them: a second call sees the same
        for name, value in before.items():
            setattr(args, name, value)
    runners.check_chosen(runner, config)
    check_config(config, proposer, runner)
    backends.settle(config)
    runners.settle(config, runner)
    if _on_gpu():
        logging.getLogger("vllm.longspec").warning("longspec: %s", runners.UNPROVEN)
    return config


def speculative(
    runner: runners.Runner, options: LongSpecOptions, proposer: Proposer
) -> dict[str, Any]:
    """What vLLM is told. V1 heeds a schedule itself; V2 schedules fewer drafts, a prefix each."""
    told = {**runner.method, "num_speculative_tokens": proposer.max_nodes}
    if options.schedule is not None and runner.version == "V2":
        told[KEY] = options.schedule.to_json()
    return told


def _flags(args: EngineArgs, raw: bool = False) -> dict[str, Any]:
    """``--spec-method`` and ``--spec-model``, vLLM's short forms of the same keys."""
    names = {"spec_method": "method", "spec_model": "model"}
    found = {name: getattr(args, name, None) for name in names}
    return {(n if raw else names[n]): v for n, v in found.items() if v is not None}


def _on_gpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cuda())
