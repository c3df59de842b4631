"""Bad configurations are refused before a model loads, each in one line that says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longspec_plugin.errors import LongSpecError
from proposers.base import Proposer
from tests.unit.glide.tiny import tiny_draft

vllm = pytest.importorskip("vllm", reason="needs the engine: make setup")

from vllm.engine.arg_utils import EngineArgs  # noqa: E402

from longspec_plugin.options import LongSpecOptions  # noqa: E402
from longspec_plugin.vllm import config, gates, runners  # noqa: E402
from longspec_plugin.vllm.compat import V2_HOOKS, VLLM  # noqa: E402

TARGET = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 60,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
    "hidden_act": "silu",
    "head_dim": 8,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A target, a draft for it, and drafts that cannot work."""
    root = tmp_path_factory.mktemp("refusals")
    names = ("target", "draft", "empty", "broken", "other_vocab", "other_heads", "no_weights")
    names += ("other_rope",)
    found = {name: root / name for name in names}
    for folder in found.values():
        folder.mkdir()
    (found["target"] / "config.json").write_text(json.dumps(TARGET))
    (found["broken"] / "config.json").write_text("{")
    tiny_draft(found["draft"])
    for name, key, value in (
        ("other_vocab", "vocab_size", 61),
        ("other_heads", "head_dim", 16),
        ("other_rope", "rope", {"theta": 1000.0, "factor": 4.0}),
    ):
        shutil.copytree(found["draft"], found[name], dirs_exist_ok=True)
        data = json.loads((found[name] / "config.json").read_text())
        data["target"][key] = value
        (found[name] / "config.json").write_text(json.dumps(data))
    shutil.copytree(found["draft"], found["no_weights"], dirs_exist_ok=True)
    (found["no_weights"] / "model.safetensors").unlink()
    return found


def create(folders: dict[str, Path], spec: dict[str, Any], **flags: Any) -> Any:
    config.install()
    if isinstance(spec.get("model"), str):
        spec = {**spec, "model": str(folders.get(spec["model"], spec["model"]))}
    args = EngineArgs(
        str(folders["target"]),
        skip_tokenizer_init=True,
        max_model_len=128,
        dtype="float32",
        speculative_config={"method": "longspec", **spec},
        **flags,
    )
    return args.create_engine_config()


BY_HAND = "num_speculative_tokens_per_batch_size"


class WholeAlone(Proposer):
    """Heeds no shards."""

    max_nodes, max_depth = 1, 1

    def __init__(self, draft_dir: Path | None, options: Mapping[str, Any]) -> None:
        pass


SPECS = [
    ({}, {}, "proposer 'glide' needs a draft: name its folder"),
    ({"model": "/nowhere"}, {}, "draft '/nowhere' is not a folder"),
    ({"model": 5}, {}, "draft 5: expected the path of a draft folder"),
    ({"model": "empty"}, {}, "config.json does not exist; a draft folder needs one"),
    ({"model": "broken"}, {}, "config.json is not valid JSON"),
    ({"model": "no_weights"}, {}, "holds no weights; expected one of model.safetensors"),
    ({"model": "draft", "tree": [4]}, {}, r"tree=\[4\] is unknown .* allowed: .*tree_shape"),
    ({"model": "draft", "num_speculative_tokens": 3}, {}, "num_speculative_tokens=3 is unknown"),
    ({"model": "draft", "tree_shape": []}, {}, r"tree_shape=\[\]: expected a non-empty list"),
    ({"model": "draft", "tree_shape": "4,4"}, {}, "tree_shape='4,4': expected"),
    ({"model": "draft", "tree_shape": [4, 0]}, {}, "level size 0 is not a whole number"),
    ({"model": "draft", "tree_shape": [100, 100]}, {}, "200 nodes; at most 128 are allowed"),
    ({"model": "draft", "min_probability": 2}, {}, "min_probability=2: allowed are numbers"),
    ({"model": "draft", "proposer": "eagle"}, {}, "proposer='eagle' is unknown; allowed: glide"),
    ({"model": "draft", "proposer": 7}, {}, "proposer=7: expected a name"),
    ({"model": "draft", "proposer": "nowhere.at:All"}, {}, "cannot be imported"),
    ({"model": "draft", "proposer": "json:JSONDecoder"}, {}, "lacks propose, bind"),
    ({"proposer": "prompt_lookup", "max_ngram": 0}, {}, "expected 1 <= min_ngram <= max_ngram"),
    ({"model": "other_vocab"}, {}, "target with vocab_size=61, this one has 60; serve tiny"),
    ({"model": "other_rope"}, {}, "rope_type=linear, this one has default; serve tiny"),
    ({"model": "other_heads"}, {}, r"self_attn.q_proj.weight has shape .*config.json asks for"),
    ({"model": "draft"}, {"async_scheduling": True}, "--async-scheduling does not work"),
    ({"model": "draft"}, {"enable_lora": True}, "--enable-lora does not work"),
    ({"model": "draft"}, {"pipeline_parallel_size": 2}, "--pipeline-parallel-size 2"),
    ({"model": "draft"}, {"tensor_parallel_size": 3}, "size 3 with a target of 2 KV heads"),
    (
        {"proposer": f"{__name__}:WholeAlone"},
        {"tensor_parallel_size": 2},
        "--tensor-parallel-size 2 with proposer WholeAlone does not work",
    ),
    ({"model": "draft"}, {"kv_cache_dtype": "fp8"}, "--kv-cache-dtype fp8"),
    ({"model": "draft"}, {"spec_tokens": 3}, '--spec-tokens does not work.*"tree_shape"'),
    ({"model": "draft", "follow_load": "no"}, {}, "follow_load='no': allowed are true and false"),
    ({"model": "draft", "few_rows": 1}, {}, "few_rows=1: allowed are true and false"),
    (
        {"model": "draft", "follow_load": True, BY_HAND: [[1, 4, 2]]},
        {},
        f"follow_load=true and {BY_HAND} exclude each other; leave one out",
    ),
    ({"model": "draft", BY_HAND: 4}, {}, f"{BY_HAND}=4: expected a list of"),
    (
        {"model": "draft", "tree_shape": [3, 2], BY_HAND: [[1, 4, 5], [5, 8, 6]]},
        {},
        r"\[5, 8, 6\] asks for 6 nodes; allowed are 0 to 5, all that the tree has",
    ),
]


@pytest.mark.parametrize(("spec", "flags", "message"), SPECS)
def test_refused_in_one_line(
    folders: dict[str, Path], spec: dict[str, Any], flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(LongSpecError, match=message) as caught:
        create(folders, spec, **flags)
    assert "\n" not in str(caught.value)


def test_environment_that_asks_for_the_other_runner(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    with pytest.raises(LongSpecError, match=r"VLLM_USE_V2_MODEL_RUNNER=1 needs a Triton.*unset it"):
        create(folders, {"model": "draft"})


@pytest.mark.parametrize("version", ["0.28.1", "0.34.0", "1.0"])
def test_unsupported_versions(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LongSpecError, match=rf"vLLM {version} is not supported; allowed: >=0.29"):
        VLLM.check_version(version)
    monkeypatch.setenv(VLLM.override, "1")
    VLLM.check_version(version)


def test_gpus_need_a_later_version_than_cpus() -> None:
    VLLM.check_version("0.31.0")
    with pytest.raises(LongSpecError, match=r"Runner V2 0.31.0 is not supported; allowed: >=0.32"):
        V2_HOOKS.check_version("0.31.0")


def test_a_moved_hook_is_noticed() -> None:
    VLLM.check_hooks()
    name = next(iter(VLLM.hooks))
    moved = replace(VLLM, hooks={**VLLM.hooks, name: ("other",)})
    with pytest.raises(LongSpecError, match=r"create_engine_config takes .*, expected"):
        moved.check_hooks()


def test_a_good_configuration_is_rewritten_and_arguments_stay(folders: dict[str, Path]) -> None:
    made = create(folders, {"model": "draft", "tree_shape": [3, 2]})
    assert made.speculative_config.method == "custom_class"
    assert made.speculative_config.num_speculative_tokens == 5
    assert made.additional_config["longspec"]["proposer_options"]["tree_shape"] == [3, 2]
    assert made.parallel_config.worker_cls.endswith("LongSpecCPUWorker")
    args = EngineArgs(str(folders["target"]), skip_tokenizer_init=True, max_model_len=128)
    untouched = args.create_engine_config()
    assert untouched.speculative_config is None
    assert "longspec" not in untouched.additional_config
    assert "LongSpec" not in untouched.parallel_config.worker_cls


@pytest.mark.parametrize(
    ("spec", "schedule", "follow"),
    [
        ({}, None, True),
        ({"follow_load": False}, None, False),
        ({BY_HAND: [[5, 9, 0], [1, 4, 3]]}, [[1, 4, 3], [5, 9, 0]], False),
    ],
)
def test_trees_follow_the_load_unless_told_otherwise(
    folders: dict[str, Path], spec: dict[str, Any], schedule: Any, follow: bool
) -> None:
    made = create(folders, {"model": "draft", **spec})
    told = made.additional_config["longspec"]
    assert (told["schedule"], told["follow_load"]) == (schedule, follow)
    assert LongSpecOptions.from_json(told).to_json() == told
    assert made.speculative_config.num_speculative_tokens_per_batch_size is None  # V1: ours alone


def test_the_other_runner_leaves_a_schedule_to_vllms_scheduler() -> None:
    """And has no host that waits for each step, whose time could be measured."""
    options = LongSpecOptions.from_config({"proposer": "prompt_lookup", BY_HAND: [[1, 4, 3]]})
    told = [config.speculative(r, options, options.build()) for r in (runners.V1, runners.V2)]
    assert [one.get(BY_HAND) for one in told] == [None, [[1, 4, 3]]]
    args: Any = SimpleNamespace(tensor_parallel_size=1)
    plain = replace(options, schedule=None, follow_load=None)
    for runner, follows in ((runners.V1, True), (runners.V2, False)):
        assert gates.following(plain, args, runner).follow_load is follows
    with pytest.raises(LongSpecError, match="follow_load=true without a host that waits"):
        gates.following(replace(plain, follow_load=True), args, runners.V2)


def test_products_of_few_rows_are_settled_before_anything_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = LongSpecOptions.from_config({"proposer": "prompt_lookup"})
    args: Any = SimpleNamespace(tensor_parallel_size=1)

    def settled(wanted: bool | None, runner: runners.Runner, able: bool) -> bool | None:
        monkeypatch.setattr(gates.few_rows, "available", lambda: able)
        return gates.following(replace(options, few_rows=wanted), args, runner).few_rows

    assert settled(None, runners.V1, True)
    assert settled(True, runners.V1, True)
    for wanted, runner, able in (
        (False, runners.V1, True),
        (None, runners.V1, False),
        (None, runners.V2, True),
    ):
        assert settled(wanted, runner, able) is False
    for runner, able in ((runners.V1, False), (runners.V2, True)):
        with pytest.raises(LongSpecError, match="few_rows=true without a CPU with AVX-512"):
            settled(True, runner, able)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"model": "draft"}, 2),
        ({"proposer": "glide_lookup", "model": "draft"}, 2),
        ({"proposer": "prompt_lookup"}, 6),
        ({"proposer": "examples.bigram_proposer:BigramProposer"}, 2),
    ],
)
def test_ranks_that_heads_can_be_dealt_out_to(
    folders: dict[str, Path], spec: dict[str, Any], size: int
) -> None:
    made = create(folders, spec, tensor_parallel_size=size)
    assert made.parallel_config.world_size == size


def test_command_line_prints_one_line(folders: dict[str, Path]) -> None:
    spec = {"method": "longspec", "model": str(folders["draft"]), "tree_shape": [0]}
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(folders["target"])]
    flags = ["--skip-tokenizer-init", "--max-model-len", "128", "--port", "0"]
    done = subprocess.run(
        [*command, *flags, "--speculative-config", json.dumps(spec)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last == "longspec: tree_shape=[0]: level size 0 is not a whole number of 1 or more"
