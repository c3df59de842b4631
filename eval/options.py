"""The command line: one pydantic model, from which argparse flags are made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError, one_line

DEFINITIONS = """definitions:
  step                  one target forward that verifies a draft
  acceptance length AL  tokens the target yields per step, the bonus token included:
                        1 + accepted / steps.  pooled = sum over sum (the headline),
                        macro = mean over requests, effective = counts undrafted steps too:
                        (completion tokens - 1) / all decode steps
  acceptance rate AR    accepted / drafted tokens; drafted counts every tree node but the
                        root; beside it the path rate accepted / (steps x depth)
  source                where these come from. response: what the server tells with each answer;
                        server: its counters before and after; file: a line per request that it
                        writes.  SGLang counts every decode step as a step (compare engines by
                        the effective AL) and every node that the tree may have as drafted; its
                        counters know no accepted tokens: their AL is completion tokens / steps,
                        with the first token of each answer and without what was cut at its end
  joint p_i             P(at least i accepted) = per_pos[i] / steps
  conditional p_i       per_pos[i] / per_pos[i-1], with per_pos[0] = steps
  throughput            completion tokens / wall time of the measured window
  TTFT, TPOT            time to the first token; (latency - TTFT) / (completion tokens - 1)
  speedup               geometric mean over prompts of vanilla's latency per token over the
                        arm's, each averaged over rounds first, with a 95% bootstrap interval
                        over prompts; speedup_decode is the same on TPOT
  identical             share of outputs equal to vanilla's, character by character; for vanilla
                        itself, later rounds against the first"""


def _field(default: Any, text: str, allowed: str = "", **limits: Any) -> Any:
    return Field(
        default=default, description=text, json_schema_extra={"allowed": allowed}, **limits
    )


class Options(BaseModel):
    """Every flag of ``python -m eval.speed_bench``, in the order of ``--help``."""

    model_config = ConfigDict(extra="forbid")

    engine: str = _field(
        "vllm", "engine that serves: vllm or sglang", "vllm or sglang", pattern="^(vllm|sglang)$"
    )
    model: str | None = _field(None, "target: a folder or a model name")
    draft: Path | None = _field(None, "draft folder, for the arm longspec")
    arms: str | None = _field(
        None,
        "comma-separated arms: vanilla, longspec, prompt_lookup, ngram, or NAME={speculative"
        " config as JSON; for sglang its flags, with underscores}; vanilla runs first (default:"
        " vanilla, and longspec with --draft)",
    )
    base_url: str | None = _field(None, "measure a server that already runs (one arm)")
    dataset: str = _field("builtin", "builtin, or the path of a JSONL file with turns or prompt")
    categories: str | None = _field(None, "comma-separated: prompts of these only (default: all)")
    num_prompts: int | None = _field(
        None,
        "prompts, spread evenly over the categories (default: all)",
        "a whole number of at least 1",
        ge=1,
    )
    concurrency: int = _field(1, "requests in flight", "a whole number of at least 1", ge=1)
    output_len: int = _field(128, "completion tokens at most", "a whole number of at least 1", ge=1)
    temperature: float = _field(0.0, "0 is greedy", "a number from 0 to 2", ge=0, le=2)
    seed: int = _field(0, "sampling seed", "a whole number of at least 0", ge=0)
    rounds: int = _field(
        1,
        "rounds; arms alternate within each, servers restart",
        "a whole number of at least 1",
        ge=1,
    )
    metrics_source: str = _field(
        "response",
        "whose numbers of speculation lead: server, response or file (sglang only); the acceptance"
        " lengths of all that are there are compared",
        "server, response or file",
        pattern="^(server|response|file)$",
    )
    metrics_file_dir: Path | None = _field(
        None, "where the server of --base-url exports its request metrics to"
    )
    output_dir: Path = _field(Path("results/speed_bench"), "where results and logs are written")
    tree_shape: str | None = _field(
        None,
        "nodes of each tree level for longspec arms, such as 4,4,2,1",
        "whole numbers of at least 1 with commas between",
        pattern=r"^[1-9]\d*(,[1-9]\d*)*$",
    )
    dtype: str | None = _field(
        None,
        "passed to the server",
        "auto, bfloat16, float16, float32, half or float",
        pattern="^(auto|bfloat16|float16|float32|half|float)$",
    )
    max_model_len: int | None = _field(
        None, "passed to the server", "a whole number of at least 1", ge=1
    )
    server_args: str = _field("", "more arguments for the server, in one quoted string")
    port: int | None = _field(
        None, "port of the server (default: a free one)", "a port from 1 to 65535", ge=1, le=65535
    )
    startup_timeout: float = _field(
        600.0, "seconds a server may take to start", "a number above 0", gt=0
    )
    request_timeout: float = _field(600.0, "seconds a request may take", "a number above 0", gt=0)
    trace: bool = _field(False, "ask longspec arms for the time split of their cycles")

    @property
    def tree(self) -> list[int] | None:
        """``tree_shape`` as numbers."""
        return [int(width) for width in self.tree_shape.split(",")] if self.tree_shape else None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def parser() -> argparse.ArgumentParser:
    """Make the parser; values stay text, so that pydantic alone judges them."""
    made = _Parser(
        prog="python -m eval.speed_bench",
        description="Serve a model with and without speculation and compare the arms.",
        epilog=DEFINITIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in Options.model_fields.items():
        text = field.description or ""
        if field.annotation is bool:
            made.add_argument(
                _flag(name), action="store_true", default=argparse.SUPPRESS, help=text
            )
            continue
        if field.default not in (None, ""):
            text += f" (default: {field.default})"
        made.add_argument(_flag(name), metavar="X", default=argparse.SUPPRESS, help=text)
    return made


def _joined(argv: list[str]) -> list[str]:
    """Tie ``--server-args`` to its value, which argparse would take for flags of ours."""
    if "--server-args" not in argv[:-1]:
        return argv
    at = argv.index("--server-args")
    return [*argv[:at], "=".join(argv[at : at + 2]), *argv[at + 2 :]]


def parse(argv: list[str] | None = None) -> Options:
    """Read the command line; raise ``UserError`` on the first bad value."""
    given = vars(parser().parse_args(_joined(sys.argv[1:] if argv is None else argv)))
    try:
        return Options(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        extra = Options.model_fields[name].json_schema_extra
        allowed = extra.get("allowed") if isinstance(extra, dict) else None
        value = one_line(str(first["input"]))
        raise UserError(f"{_flag(name)} {value}: expected {allowed or first['msg']}") from None
