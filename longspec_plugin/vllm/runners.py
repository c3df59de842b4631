"""Which of vLLM's two model runners serves, decided here alone.

Model Runner V2 (:mod:`.v2`) is what vLLM runs where Triton is: on GPUs. Its CPU build has no Triton
and runs Model Runner V1 (:mod:`.v1`). A GPU is never served with V1: trees have no place in the
CUDA graphs that it captures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..compat import Supported
from ..errors import LongSpecError
from .compat import V1_HOOKS, V2_HOOKS

if TYPE_CHECKING:
    from vllm.config import VllmConfig

UNPROVEN = (
    "not yet run on a GPU: that answers there are the target's own is unproven;"
    " compare them with vanilla's before you rely on them"
)
"""Printed when a GPU is served, and said in the documents, until such a run has shown identity."""


@dataclass(frozen=True)
class Runner:
    """A model runner of vLLM's, and what we ask of vLLM to be served by it.

    Attributes:
        version: ``V1`` or ``V2``.
        worker: our worker's class.
        method: the speculative method that our configuration is rewritten to.
        scheduler: the class of the scheduler whose grammars heed trees; None where there is none.
        executor: the class in place of vLLM's for processes of one machine; None where that serves.
        hooks: what we lean on there.
    """

    version: str
    worker: str
    method: Mapping[str, Any]
    hooks: Supported
    scheduler: str | None = None
    executor: str | None = None


V1 = Runner(
    "V1",
    "longspec_plugin.vllm.v1.worker.LongSpecCPUWorker",
    {"method": "custom_class", "model": "longspec_plugin.vllm.v1.drafter.TreeDrafter"},
    V1_HOOKS,
    executor="longspec_plugin.vllm.v1.executor.AheadExecutor",
)
# Why: V2 refuses `custom_class`. How: a borrowed name that loads no second model, reserves no
# lookahead slots, and has all token ids kept on the device. Upstream: vllm/config/speculative.py.
# It can go when methods are no closed list.
NGRAM = {"method": "ngram_gpu", "prompt_lookup_min": 1, "prompt_lookup_max": 1}
SCHEDULER = "longspec_plugin.vllm.v2.scheduler.TreeScheduler"
V2 = Runner("V2", "longspec_plugin.vllm.v2.worker.LongSpecWorker", NGRAM, V2_HOOKS, SCHEDULER)
V2_CPU = replace(V2, worker="longspec_plugin.vllm.v2.worker_cpu.LongSpecWorker")


def choose() -> Runner:
    """The runner for this platform and environment.

    Raises:
        LongSpecError: another device, or V1 forced on a GPU.
    """
    from vllm import envs
    from vllm.platforms import current_platform
    from vllm.triton_utils import HAS_TRITON

    wanted = envs.VLLM_USE_V2_MODEL_RUNNER
    if current_platform.is_cuda():
        if wanted is False:
            raise LongSpecError(
                "VLLM_USE_V2_MODEL_RUNNER=0 does not work with method 'longspec' on a GPU; unset it"
            )
        return V2
    if not current_platform.is_cpu():
        raise LongSpecError(
            f"device {current_platform.device_type!r} is not supported; allowed: cpu, cuda"
        )
    if wanted and not HAS_TRITON:
        raise LongSpecError(
            "VLLM_USE_V2_MODEL_RUNNER=1 needs a Triton that runs on the CPU, and there is none;"
            " unset it"
        )
    return V2_CPU if HAS_TRITON and wanted is not False else V1


def settle(config: VllmConfig, runner: Runner) -> None:
    """Take the runner's scheduler and executor, where they fit and the user names no others."""
    scheduling, parallel = config.scheduler_config, config.parallel_config
    if scheduling.async_scheduling and scheduling.scheduler_cls is None:
        scheduling.scheduler_cls = runner.scheduler
    if runner.executor is not None and parallel.distributed_executor_backend == "mp":
        parallel.distributed_executor_backend = runner.executor


def grammars_heed_trees(config: VllmConfig) -> bool:
    """Whether requests with grammars get trees: where a scheduler of ours makes their bitmasks, and
    no grammar begins in the middle of a step, as behind a reasoning that it leaves alone."""
    output = config.structured_outputs_config
    begins_later = bool(output.reasoning_parser) and not output.enable_in_reasoning
    return config.scheduler_config.scheduler_cls == SCHEDULER and not begins_later


def check_chosen(runner: Runner, config: VllmConfig) -> None:
    """Refuse a configuration for which vLLM takes another runner than we prepared for."""
    if config.use_v2_model_runner != (runner.version == "V2"):
        other = "V1" if runner.version == "V2" else "V2"
        raise LongSpecError(
            f"vLLM takes Model Runner {other} for this configuration, method 'longspec' serves it"
            f" with {runner.version} alone; vLLM's warning above names what to leave out"
        )
