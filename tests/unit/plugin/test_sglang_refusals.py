"""What the SGLang adapter refuses before anything is loaded, each in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from longspec_plugin.errors import LongSpecError
from longspec_plugin.sglang import compat, gates, register
from longspec_plugin.sglang.compat import SGLANG
from longspec_plugin.sglang.config import complete, options_of
from proposers.base import TargetShape
from tests.unit.glide.tiny import tiny_draft

NEEDS_SGLANG = "needs the engine: make setup-sglang"


def arguments(**given: Any) -> SimpleNamespace:
    """SGLang's arguments, as far as they matter here."""
    plain = {"device": "cpu", "attention_backend": "torch_native", "tp_size": 1, "pp_size": 1}
    return SimpleNamespace(**{**plain, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tp_size": 2}, "--tp-size 2 does not work with LONGSPEC; allowed: 1"),
        ({"pp_size": 2}, "--pp-size 2 .*allowed: 1"),
        ({"enable_lora": True}, "--enable-lora .*serve the merged model"),
        ({"enable_dp_attention": True}, "--enable-dp-attention .*leave it out"),
        ({"enable_return_hidden_states": True}, "--enable-return-hidden-states .*leave it out"),
        ({"return_hidden_states_mode": "last"}, "--return-hidden-states-mode last .*leave it out"),
        ({"kv_cache_dtype": "fp8_e5m2"}, "--kv-cache-dtype fp8_e5m2 .*allowed: auto"),
        ({"disaggregation_mode": "decode"}, "--disaggregation-mode decode .*leave it out"),
        ({"device": "xpu"}, "--device xpu .*allowed: cpu, cuda"),
        ({"attention_backend": "flashinfer"}, "flashinfer .*allowed on cpu: torch_native"),
        ({"device": "cuda", "attention_backend": "fa3"}, "allowed on cuda: triton, flashinfer"),
        ({"speculative_num_steps": 3}, '--speculative-num-steps 3 .*"tree_shape"'),
        ({"speculative_num_draft_tokens": 9}, '--speculative-num-draft-tokens 9 .*"tree_shape"'),
        ({"speculative_eagle_topk": 4}, '--speculative-eagle-topk 4 .*"tree_shape"'),
    ],
)
def test_arguments(given: dict[str, Any], message: str) -> None:
    gates.check_arguments(arguments())
    with pytest.raises(LongSpecError, match=message) as caught:
        gates.check_arguments(arguments(**given))
    assert "\n" not in str(caught.value)


def model(**given: Any) -> SimpleNamespace:
    plain = {
        "hf_config": SimpleNamespace(architectures=["LlamaForCausalLM"]),
        "hf_text_config": SimpleNamespace(max_position_embeddings=512),
        "attention_arch": SimpleNamespace(name="MHA"),
        "is_encoder_decoder": False,
        "is_multimodal": False,
        "is_hybrid_swa": False,
        "is_generation": True,
        "sliding_window_size": None,
        "vocab_size": 60,
        "hidden_size": 48,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    return SimpleNamespace(**{**plain, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attention_arch": SimpleNamespace(name="MLA")}, "a target with MLA attention"),
        ({"sliding_window_size": 512}, "a target with sliding windows"),
        ({"is_multimodal": True}, "the target LlamaForCausalLM"),
        ({"vocab_size": 61}, "vocab_size=60, this one has 61"),
        ({"num_key_value_heads": 6}, "num_key_value_heads=2, this one has 6"),
    ],
)
def test_targets(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    tiny_draft(tmp_path)
    proposer = options_of(str(tmp_path)).build()
    gates.check_target(model(), proposer)
    assert gates.target_shape(model()) == TargetShape(60, 48, 6, 2, 8, 512)
    with pytest.raises(LongSpecError, match=message):
        gates.check_target(model(**given), proposer)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("{", "LONGSPEC_CONFIG='{' is not valid JSON"),
        ("[4]", r"LONGSPEC_CONFIG='\[4\]': expected an object"),
        ('{"tree": [4]}', r"tree=\[4\] is unknown .*allowed: .*tree_shape"),
        ('{"tree_shape": [200]}', "200 nodes; at most 128 are allowed"),
        ('{"proposer": "eagle"}', "proposer='eagle' is unknown; allowed: glide"),
        ('{"follow_load": true}', "follow_load=true does not work with .*; take it away with null"),
        ('{"few_rows": true}', "few_rows=true does not work with .*; take it away with null"),
        (
            '{"num_speculative_tokens_per_batch_size": [[1, 4, 2]]}',
            "num_speculative_tokens_per_batch_size does not work with",
        ),
    ],
)
def test_environment(
    tmp_path: Path, override: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_draft(tmp_path)
    monkeypatch.setenv("LONGSPEC_CONFIG", override)
    with pytest.raises(LongSpecError, match=message) as caught:
        options_of(str(tmp_path)).build()
    assert "\n" not in str(caught.value)


def test_the_environment_overrides_the_draft_and_sizes_the_buffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_draft(tmp_path)
    monkeypatch.setenv("LONGSPEC_CONFIG", '{"tree_shape": [3, 2]}')
    args = arguments(speculative_draft_model_path=str(tmp_path), max_running_requests=None)
    complete(args)
    assert args.speculative_num_draft_tokens == 6
    assert args.speculative_num_steps == 2
    assert args.disable_overlap_schedule
    on_gpu = arguments(
        device="cuda",
        attention_backend=None,
        speculative_draft_model_path=str(tmp_path),
        max_running_requests=7,
    )
    complete(on_gpu)
    assert (on_gpu.attention_backend, on_gpu.max_running_requests) == ("triton", 7)
    monkeypatch.setenv("LONGSPEC_CONFIG", '{"proposer": "prompt_lookup"}')
    assert options_of(None).build().max_nodes > 1  # no draft is needed


@pytest.mark.parametrize("version", ["0.5.21", "0.6.0", "1.0"])
def test_unsupported_versions(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message = rf"SGLang {version} is not supported; allowed: >=0.5.22,<0.6"
    with pytest.raises(LongSpecError, match=message):
        SGLANG.check_version(version)
    monkeypatch.setenv(SGLANG.override, "1")
    SGLANG.check_version(version)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("0.5.9", r"longspec: SGLang 0.5.9 is not supported; allowed: >=0.5.22,<0.6"),
        ("0.5.23", "longspec: cannot register with SGLang: no registry"),
    ],
)
def test_an_engine_without_a_registry_hears_of_it_only_when_asked(
    version: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ImportError("no registry")

    module = SimpleNamespace(install=fail)
    monkeypatch.setitem(sys.modules, "longspec_plugin.sglang.algorithm", module)
    monkeypatch.setattr(compat, "installed", lambda: version)
    monkeypatch.setattr(sys, "argv", ["launch_server", "--speculative-algorithm", "NGRAM"])
    register()  # nobody asked: nothing is said
    for asked in (["--speculative-algorithm", "longspec"], ["--speculative-algorithm=LONGSPEC"]):
        monkeypatch.setattr(sys, "argv", ["launch_server", *asked])
        with pytest.raises(SystemExit, match=message):
            register()


def test_a_moved_hook_is_noticed() -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    SGLANG.check_hooks()
    name = next(iter(SGLANG.hooks))
    with pytest.raises(LongSpecError, match=r"forward_batch_generation takes .*, expected"):
        replace(SGLANG, hooks={name: ("other",)}).check_hooks()


def test_the_command_says_it_in_one_line(target_dir: Path) -> None:
    pytest.importorskip("sglang", reason=NEEDS_SGLANG)
    command = [sys.executable, "-m", "sglang.launch_server", "--model-path", str(target_dir)]
    command += ["--device", "cpu", "--attention-backend", "torch_native"]
    command += ["--speculative-algorithm", "LONGSPEC"]
    command += ["--speculative-draft-model-path", "/nowhere"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last == "longspec: draft '/nowhere' is not a folder; give the path of a GLIDE draft"
    assert "Traceback" not in done.stderr
