"""Which of vLLM's model runners serves, and what is said where none can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from longspec_plugin.compat import Supported, parameters
from longspec_plugin.errors import LongSpecError

pytest.importorskip("vllm", reason="needs the engine: make setup")

from vllm import envs, platforms, triton_utils
from vllm.utils.import_utils import resolve_obj_by_qualname

from longspec_plugin.vllm import runners
from longspec_plugin.vllm.compat import V1_HOOKS, V2_HOOKS, VLLM
from longspec_plugin.vllm.v1.executor import AheadExecutor
from longspec_plugin.vllm.v1.slots import Slots


def chosen(
    patch: pytest.MonkeyPatch, device: str, triton: bool, wanted: bool | None
) -> runners.Runner:
    platform = SimpleNamespace(
        is_cuda=lambda: device == "cuda", is_cpu=lambda: device == "cpu", device_type=device
    )
    patch.setattr(platforms, "_current_platform", platform)
    patch.setattr(platforms, "current_platform", platform, raising=False)
    patch.setattr(triton_utils, "HAS_TRITON", triton)
    patch.setattr(envs, "VLLM_USE_V2_MODEL_RUNNER", wanted, raising=False)
    return runners.choose()


@pytest.mark.parametrize(
    ("device", "triton", "wanted", "runner"),
    [
        ("cuda", True, None, runners.V2),
        ("cuda", True, True, runners.V2),
        ("cpu", False, None, runners.V1),
        ("cpu", False, False, runners.V1),
        ("cpu", True, None, runners.V2_CPU),
        ("cpu", True, False, runners.V1),
    ],
)
def test_by_platform_and_vllms_own_choice(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    triton: bool,
    wanted: bool | None,
    runner: runners.Runner,
) -> None:
    assert chosen(monkeypatch, device, triton, wanted) is runner


@pytest.mark.parametrize(
    ("device", "triton", "wanted", "words"),
    [
        ("cuda", True, False, "VLLM_USE_V2_MODEL_RUNNER=0 does not work .* on a GPU; unset it"),
        ("cpu", False, True, "needs a Triton that runs on the CPU, and there is none; unset it"),
        ("xpu", True, None, "device 'xpu' is not supported; allowed: cpu, cuda"),
    ],
)
def test_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, device: str, triton: bool, wanted: bool | None, words: str
) -> None:
    with pytest.raises(LongSpecError, match=words):
        chosen(monkeypatch, device, triton, wanted)


def test_a_fallback_of_vllms_is_refused() -> None:
    config: Any = SimpleNamespace(use_v2_model_runner=False)
    runners.check_chosen(runners.V1, config)
    with pytest.raises(LongSpecError, match=r"vLLM takes Model Runner V1 .* with V2 alone"):
        runners.check_chosen(runners.V2, config)


@pytest.mark.parametrize("hooks", [VLLM, V1_HOOKS, V2_HOOKS], ids=["both", "V1", "V2"])
def test_hooks_are_there(hooks: Supported) -> None:
    hooks.check_hooks()
    for path, expected in hooks.hooks.items():
        found = parameters(path)
        assert found is not None
        assert found[: len(expected)] == expected


def test_slots_are_stable_and_used_again() -> None:
    slots = Slots()
    assert [slots.take("a", 5), slots.take("b", 9), slots.take("a", 8)] == [(0, 0), (1, 0), (0, 3)]
    assert slots.take("a", 8) == (0, 0)  # nothing new: all of it is made anew
    slots.give_back({"a", "unknown"})
    assert slots.take("c", 4) == (0, 0)
    assert slots.take("b", 11) == (1, 2)


def configured(asynchronous: bool, scheduler: str | None, parser: str, inside: bool) -> Any:
    return SimpleNamespace(
        scheduler_config=SimpleNamespace(async_scheduling=asynchronous, scheduler_cls=scheduler),
        parallel_config=SimpleNamespace(distributed_executor_backend="mp"),
        structured_outputs_config=SimpleNamespace(
            reasoning_parser=parser, enable_in_reasoning=inside
        ),
    )


@pytest.mark.parametrize(
    ("runner", "asynchronous", "own", "parser", "inside", "heeded"),
    [
        (runners.V2, True, None, "", False, True),
        (runners.V2, True, None, "qwen3", True, True),
        (runners.V2, True, None, "qwen3", False, False),
        (runners.V2, True, "my.Scheduler", "", False, False),
        (runners.V2, False, None, "", False, False),
        (runners.V1, True, None, "", False, False),
    ],
)
def test_grammars_heed_trees_where_our_scheduler_makes_their_masks(
    runner: runners.Runner,
    asynchronous: bool,
    own: str | None,
    parser: str,
    inside: bool,
    heeded: bool,
) -> None:
    config = configured(asynchronous, own, parser, inside)
    runners.settle(config, runner)
    assert runners.grammars_heed_trees(config) == heeded
    assert own in (None, config.scheduler_config.scheduler_cls)


@pytest.mark.parametrize(
    ("runner", "backend", "taken"),
    [
        (runners.V1, "mp", True),
        (runners.V1, "uni", False),
        (runners.V1, "ray", False),
        (runners.V1, "my.Executor", False),
        (runners.V2, "mp", False),
        (runners.V2_CPU, "mp", False),
    ],
)
def test_our_executor_takes_the_place_of_vllms_own_alone(
    runner: runners.Runner, backend: str, taken: bool
) -> None:
    config = configured(False, None, "", False)
    config.parallel_config.distributed_executor_backend = backend
    runners.settle(config, runner)
    found = config.parallel_config.distributed_executor_backend
    assert found == (runners.V1.executor if taken else backend)
    assert not taken or resolve_obj_by_qualname(found) is AheadExecutor
