"""Every option of a run, as one pydantic model; ``parsing`` makes flags of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from .sweep import Condition, conditions

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
  throughput            completion tokens / seconds with a request in flight
  TTFT, TPOT            time to the first token, be it of a thought, a text or a tool's call;
                        (latency - TTFT) / (completion tokens - 1)
  goodput               requests within every limit of --goodput / seconds
  speedup               geometric mean over prompts of vanilla's latency per token over the
                        arm's, each averaged over rounds first, with a 95% bootstrap interval
                        over prompts; speedup_decode is the same on TPOT
  identical             outputs equal to vanilla's, token by token where both tell their ids,
                        else by all their texts, of those with the same input; for vanilla itself
                        its control, the prompts once more. The margin of a divergence is vanilla's
                        log-probability there, top less second
  step time             (latency - TTFT) / decode steps, or the mean cycle of --trace; over
                        vanilla's it is the effective AL at which an arm breaks even"""

_KEY = re.compile(r"""(--[\w-]*api[-_]key[=\s]+)[^\s'"]+""")


def without_keys(text: str) -> str:
    """A command line without the keys that it gives to a server."""
    return _KEY.sub(r"\1***", text)


LimitName = Literal["ttft", "tpot", "latency"]


def _listed(value: Any) -> Any:
    return (
        value.split(",")
        if isinstance(value, str)
        else value
        if isinstance(value, list)
        else [value]
    )


def _limits(value: Any) -> Any:
    """``ttft:500,tpot:50`` as a mapping; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition(":") for part in value.split(",")]
    return {name: limit for name, _, limit in pairs}


Numbers = Annotated[
    list[Annotated[int, Field(ge=1)]], BeforeValidator(_listed), Field(min_length=1)
]
Temperatures = Annotated[
    list[Annotated[float, Field(ge=0, le=2)]], BeforeValidator(_listed), Field(min_length=1)
]
Exports = Annotated[list[Literal["flat", "openmetrics"]], BeforeValidator(_listed)]
Limit = Annotated[float, Field(gt=0)]


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
    draft_model: str | None = _field(None, "small model, for the arm draft_model")
    eagle3: str | None = _field(None, "EAGLE-3 head, for the arm eagle3")
    arms: str | list[str] | dict[str, Any] | None = _field(
        None,
        "comma-separated arms: vanilla, longspec, prompt_lookup, ngram, suffix, draft_model,"
        " eagle3, NAME={speculative config as JSON; for sglang its flags, with underscores}, or"
        " NAME=URL of a server that already runs (replicas: URL+URL); vanilla runs first"
        " (default: vanilla, and longspec with --draft)",
    )
    recipe: Path | None = _field(
        None, "YAML file with any of these options; the command line goes over it"
    )
    base_url: str | None = _field(
        None, "measure a server that already runs, as one arm (replicas: URL+URL)"
    )
    ca_file: Path | None = _field(
        None,
        "PEM file of a certificate, or its authority, that https servers which run already are"
        " trusted by (default: the system's)",
    )
    dataset: str = _field(
        "builtin",
        "builtin, speed-bench, spec-bench, mt-bench, longbench, aime, humaneval, sharegpt, each"
        " alone or as NAME:PATH, or the path of a file; see docs/datasets.md",
    )
    config: str | None = _field(None, "part of the data set, such as qualitative of speed-bench")
    categories: str | None = _field(None, "comma-separated: prompts of these only (default: all)")
    num_prompts: int | None = _field(
        None,
        "prompts, spread evenly over the categories (default: all)",
        "a whole number of at least 1",
        ge=1,
    )
    concurrency: Numbers = _field(
        [1], "requests in flight; several as 1,4,16", "whole numbers of at least 1, commas between"
    )
    output_len: int = _field(128, "completion tokens at most", "a whole number of at least 1", ge=1)
    temperature: Temperatures = _field(
        [0.0], "0 is greedy; several as 0,1", "numbers from 0 to 2, commas between"
    )
    seed: int = _field(0, "sampling seed", "a whole number of at least 0", ge=0)
    sampling: str = _field(
        "neutral",
        "what requests say of penalties and of cutting the distribution: neutral turns all of it"
        " off, server leaves it to the defaults of the served model (generation_config.json)",
        "server or neutral",
        pattern="^(server|neutral)$",
    )
    cache_salt: str | None = _field(
        None,
        "salt that requests name, as those of one user would: engines keep prefix caches apart by"
        " it, and longspec drafts from answers under the same one; each round and each point of a"
        " sweep has its own, as its prompts are the same (default: none)",
        "1 to 64 letters, digits, points, dashes and underscores",
        pattern=r"^[\w.-]{1,64}$",
    )
    rounds: int = _field(
        1,
        "rounds; arms alternate within each, servers restart",
        "a whole number of at least 1",
        ge=1,
    )
    turn: int | None = _field(
        None,
        "with servers that run already (NAME=URL): prompts that an arm answers before it is the"
        " next one's turn, so that a machine whose speed drifts slows all alike (default: all)",
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
    no_control: bool = _field(
        False,
        "do not send greedy prompts to vanilla once more, untimed, which tells how much its own"
        " answers differ and by what margin",
    )
    goodput: dict[LimitName, Limit] | None = _field(
        None,
        "limits in ms that a good request meets, such as ttft:500,tpot:50 (also latency)",
        "limits above 0 as ttft:MS, tpot:MS, latency:MS, commas between",
    )
    output_dir: Path = _field(Path("results/speed_bench"), "where results and logs are written")
    resume: bool = _field(False, "go on with the run in --output-dir; nothing is measured twice")
    overwrite: bool = _field(False, "replace an unfinished run in --output-dir")
    format: str = _field(
        "table",
        "table, or nemo for NeMo-Skills' columns beside it",
        "table or nemo",
        pattern="^(table|nemo)$",
    )
    export: Exports = _field(
        [],
        "also write the numbers for other tools: flat (JSON lines, as MLflow and W&B take them),"
        " openmetrics; both as flat,openmetrics",
        "flat, openmetrics or both, commas between",
    )
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

    _split_limits = field_validator("goodput", mode="before")(_limits)

    def shown(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """All values as JSON, fit to be written down: without keys of servers."""
        told = self.model_dump(mode="json", exclude=exclude)
        return told | {"server_args": without_keys(self.server_args)}

    @property
    def conditions(self) -> list[Condition]:
        """The sweep."""
        return conditions(self.concurrency, self.temperature)

    @property
    def limits(self) -> dict[str, float]:
        """``goodput`` by name; empty without limits."""
        return {str(name): limit for name, limit in (self.goodput or {}).items()}

    @property
    def tree(self) -> list[int] | None:
        """``tree_shape`` as numbers."""
        return [int(width) for width in self.tree_shape.split(",")] if self.tree_shape else None
