"""``vllm serve``."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from ...cli.errors import UserError
from ...cli.options import Options
from .base import HOST, Config

KNOWN: dict[str, Config] = {
    "ngram": {
        "method": "ngram",
        "num_speculative_tokens": 4,
        "prompt_lookup_max": 4,
        "prompt_lookup_min": 2,
    },
    "suffix": {"method": "suffix"},
    "draft_model": {"method": "draft_model", "num_speculative_tokens": 4},
    "eagle3": {"method": "eagle3", "num_speculative_tokens": 3},
}


class Vllm:
    """vLLM 0.32 and later."""

    example = '{"method": "ngram"}'
    known = KNOWN
    model_key = "model"
    export: tuple[str, ...] = ()

    def check(self, name: str, config: Config) -> None:
        """vLLM finds the method by the draft model where it is not named."""
        if not {"method", "model"} & config.keys():
            raise UserError(
                f'--arms {name}={json.dumps(config)}: not for vllm; give "method" (or the "model"'
                f" of a draft), such as '{name}={self.example}'"
            )

    def command(self, options: Options, config: Config | None, port: int) -> list[str]:
        """``--per-request-spec-decode-metrics``: acceptance with each answer."""
        line = [executable(), "serve", str(options.model), "--host", HOST, "--port", str(port)]
        if options.dtype:
            line += ["--dtype", options.dtype]
        if options.max_model_len:
            line += ["--max-model-len", str(options.max_model_len)]
        if config is not None:
            line += ["--speculative-config", json.dumps(config)]
            line += ["--per-request-spec-decode-metrics", "detailed"]
        return line + shlex.split(options.server_args)

    def variables(self, config: Config | None) -> dict[str, str]:
        """None: the configuration travels in one flag."""
        return {}

    def defaults(self, options: Options) -> dict[str, str]:
        """GiB of KV cache on a CPU, where vLLM would take half of the memory."""
        return {"VLLM_CPU_KVCACHE_SPACE": "4"}


def executable() -> str:
    """``vllm`` beside the running Python, else on PATH."""
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.is_file() else shutil.which("vllm")
    if not found:
        raise UserError("vllm: not found beside Python or on PATH; run pip install vllm")
    return found
