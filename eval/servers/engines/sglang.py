"""``python -m sglang.launch_server``."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Iterator

from ...cli.errors import UserError
from ...cli.options import Options
from ...records.provenance import gpus
from .base import HOST, Config

CPU_TEST_BED = [
    *("--device", "cpu", "--attention-backend", "torch_native", "--disable-cuda-graph"),
    *("--max-total-tokens", "65536"),  # left to itself it fills most of the memory with KV
]
_CHAIN: Config = {  # a draft of three tokens, no tree
    "speculative_num_steps": 3,
    "speculative_eagle_topk": 1,
    "speculative_num_draft_tokens": 4,
}
KNOWN: dict[str, Config] = {
    # SGLang's own default: trees of at most 11 drafted tokens
    "ngram": {"speculative_algorithm": "NGRAM", "speculative_num_draft_tokens": 12},
    "draft_model": {"speculative_algorithm": "STANDALONE", **_CHAIN},
    "eagle3": {"speculative_algorithm": "EAGLE3", **_CHAIN},
}


class Sglang:
    """SGLang 0.5.23 and later.

    SGLang's command line takes no options of a plugin. Those of ``"method": "longspec"`` travel
    in ``LONGSPEC_CONFIG``, which the adapter reads over the draft's ``config.json``; any other
    configuration is the server's flags, with underscores for dashes.
    """

    example = '{"speculative_algorithm": "NGRAM"}'
    known = KNOWN
    model_key = "speculative_draft_model_path"
    export: tuple[str, ...] = ("--export-metrics-to-file", "--export-metrics-to-file-dir")

    def check(self, name: str, config: Config) -> None:
        """Either our method or an algorithm of SGLang's."""
        if config.get("method") != "longspec" and "speculative_algorithm" not in config:
            raise UserError(
                f'--arms {name}={json.dumps(config)}: not for sglang; give "method": "longspec" or'
                f""" "speculative_algorithm", such as '{name}={self.example}'"""
            )

    def command(self, options: Options, config: Config | None, port: int) -> list[str]:
        """Flags of the user come last, since the last of a kind counts."""
        line = [*launcher(), "--model-path", str(options.model), "--host", HOST]
        line += ["--port", str(port), "--enable-metrics"]
        if options.dtype:
            line += ["--dtype", options.dtype]
        if options.max_model_len:
            line += ["--context-length", str(options.max_model_len)]
        line += _flags(_as_arguments(config or {}))
        return line + CPU_TEST_BED * on_test_bed(options) + shlex.split(options.server_args)

    def variables(self, config: Config | None) -> dict[str, str]:
        """What our adapter is to know beyond the draft's folder."""
        if not config or config.get("method") != "longspec":
            return {}
        ours = {key: value for key, value in config.items() if key not in ("method", "model")}
        return {"LONGSPEC_CONFIG": json.dumps(ours)} if ours else {}

    def defaults(self, options: Options) -> dict[str, str]:
        """More threads than one slow SGLang's CPU test bed down."""
        return {"OMP_NUM_THREADS": "1"} if on_test_bed(options) else {}


def launcher() -> list[str]:
    """The module of the running Python's SGLang, which is not imported here."""
    if importlib.util.find_spec("sglang") is None:
        raise UserError(f"sglang: not installed for {sys.executable}; run pip install sglang")
    return [sys.executable, "-m", "sglang.launch_server"]


def on_test_bed(options: Options) -> bool:
    """Whether SGLang has to run on the CPU: no NVIDIA GPU, and the user chose no ``--device``."""
    words = shlex.split(options.server_args)
    chosen = any(word == "--device" or word.startswith("--device=") for word in words)
    return not chosen and not gpus()


def _as_arguments(config: Config) -> Config:
    if config.get("method") != "longspec":
        return config
    draft = {"speculative_draft_model_path": config["model"]} if config.get("model") else {}
    return {"speculative_algorithm": "LONGSPEC", **draft}


def _flags(arguments: Config) -> list[str]:
    """``--key value`` of each; ``--key`` alone where it is true, nothing where false or null."""

    def words() -> Iterator[str]:
        for key, value in arguments.items():
            if value is None or value is False:
                continue
            yield "--" + key.replace("_", "-")
            if value is not True:
                yield value if isinstance(value, str) else json.dumps(value)

    return list(words())
