"""Every option of the benchmark as one pydantic model: ``config.json``, a file, the command line.

Each goes over the one before it. What cannot work is refused in one line, before a model is made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..cli.context import positions
from ..cli.errors import UserError, one_line
from ..cli.flags import Parser, allowed, flag
from .shapes import SIZES, Shape

CONFIG = Path(__file__).with_name("config.json")
DEFAULTS: dict[str, Any] = json.loads(CONFIG.read_text("utf-8"))
Rule = tuple[Literal["original", "bonus"], Literal["drafted", "verified"]]
POE_RULES: dict[str, Rule] = {  # what PoE takes as rule and trunk
    "hydra_poe": ("original", "drafted"),
    "hydra_poe_bonus": ("bonus", "drafted"),
    "hydra_poe_verified": ("bonus", "verified"),
}
HEADS_ROWS = ("hydra_naive", *POE_RULES)
GLIDE_ROWS = ("glide_chain", "glide_tree")
ROWS = ("baseline", "hydra_naive", *POE_RULES, *GLIDE_ROWS)
MOST_NODES = 128  # of a draft
WHOLE = "a whole number of at least 1"
COMMAS = "whole numbers of at least 1, commas between"
EPILOG = """rows:
  baseline            the model alone, a token a forward
  hydra_naive         trunk and all heads for every token, logits averaged
  hydra_poe           one head drafts gamma tokens, the others verify; the original rule
  hydra_poe_bonus     the same, with a bonus token where all drafted ones are accepted
  hydra_poe_verified  the same, and the trunk runs once a verified block
  glide_chain, glide_tree  chains and trees of a GLIDE draft (--target and --draft)
What the numbers mean is in docs/latency.md."""


def _listed(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


def _field(text: str, allowed: str = "", **limits: Any) -> Any:
    return Field(description=text, json_schema_extra={"allowed": allowed}, **limits)


Several = BeforeValidator(_listed)
Numbers = Annotated[list[Annotated[int, Field(ge=1)]], Several]
RowName = Annotated[str, Field(pattern=f"^({'|'.join(ROWS)})$")]


class Options(BaseModel):
    """Every flag, in the order of ``--help``; the defaults are those of ``config.json``."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    rows: Annotated[list[RowName] | None, Several] = _field(
        "comma-separated (default: all; GLIDE's with --draft)", f"some of {', '.join(ROWS)}"
    )
    size: Literal["1b", "7b", "smollm2", "tiny"] = _field(
        "shape of random weights: 1b or 7b (OLMo2), smollm2, tiny", f"one of {', '.join(SIZES)}"
    )
    target: Path | None = _field(
        "folder of a transformers model, or its name on the Hugging Face hub, in place of random"
        " weights"
    )
    heads: Path | None = _field("folder of that target's heads (recipes.hydra.heads): real heads")
    draft: Path | None = _field("that target's GLIDE draft, folder or name: two rows more")
    n_heads: int = _field(
        "heads; with --heads as many as there are", "a whole number of at least 2", ge=2
    )
    heads_depth: int = _field("layers of a head; with --heads theirs", WHOLE, ge=1)
    prompt_length: int = _field("tokens of the prompt", WHOLE, ge=1)
    gen_length: int = _field("tokens decoded for the latency by position", WHOLE, ge=1)
    step_interval: int = _field("tokens between two positions that are timed", WHOLE, ge=1)
    paired: bool = _field(
        "time the model alone again after every row; × baseline is over what was just before and"
        " after, as a machine's speed drifts",
        "true or false",
    )
    warmup_ms: float = _field("window of warm-up calls", "a number of at least 0", ge=0)
    rep_ms: float = _field("window of measured calls", "a number above 0", gt=0)
    dtype: Literal["bf16", "fp16", "fp32"] = _field("of all weights", "bf16, fp16 or fp32")
    device: str = _field(
        "auto (the GPU if there is one), cpu, cuda or cuda:N",
        "auto, cpu, cuda or cuda:N",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
    )
    gammas: Numbers = _field("tokens that PoE drafts a step, swept", COMMAS, min_length=1)
    poe_gamma: int = _field("gamma of what build_poe returns", WHOLE, ge=1)
    poe_beta: float = _field("PoE's exponent", "a number above 0", gt=0)
    poe_temperature: float = _field(
        "PoE's temperature, 0 is greedy", "a number of at least 0", ge=0
    )
    poe_max_new_tokens: int = _field("tokens of a whole call, in every row", WHOLE, ge=1)
    poe_draft_head: str = _field(
        "PoE's draft head: a number from 0, or random",
        "a head or random",
        pattern=r"^(random|\d+)$",
    )
    chain_gamma: int = _field("tokens of a GLIDE chain", WHOLE, ge=1)
    tree_shape: Numbers = _field("nodes of each level of a GLIDE tree", COMMAS, min_length=1)
    seed: int = _field("of weights, prompt and sampling", "a whole number of at least 0", ge=0)
    output_dir: Path = _field("folder of the run folders")

    @property
    def draft_head(self) -> int | Literal["random"]:
        """``poe_draft_head`` as ``PoE`` takes it."""
        return "random" if self.poe_draft_head == "random" else int(self.poe_draft_head)

    @property
    def chosen(self) -> list[str]:
        """The rows, in the order of the table."""
        without = () if self.draft else GLIDE_ROWS
        asked = self.rows or [row for row in ROWS if row not in without]
        return [row for row in ROWS if row in asked]

    @property
    def repeats_baseline(self) -> bool:
        """Whether the model alone is timed again after every other row."""
        return self.paired and "baseline" in self.chosen

    @property
    def bridge(self) -> bool:
        """Whether the heads come with a stand-in for the trunk."""
        return bool(self.heads and heads_index(self.heads).get("bridge"))

    @property
    def shape(self) -> Shape:
        """Of the target, or of the size."""
        return SIZES[self.size] if self.target is None else _shape_of(self.target)


def _shape_of(target: Path) -> Shape:
    path = target / "config.json"
    try:
        found = json.loads(path.read_text("utf-8"))
        most = positions(found) or found["max_position_embeddings"]
        sizes = (found["num_hidden_layers"], most, found["vocab_size"])
        return Shape(_name_of(target), found["model_type"], *sizes, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"--target {target}: no readable config.json there; give the folder of a transformers"
            " model"
        ) from None


def _name_of(folder: Path) -> str:
    """Of a model; in the hub's cache it is that of the folder above its snapshots."""
    if folder.parent.name == "snapshots":
        return folder.parents[1].name.rpartition("--")[2]
    return folder.name


def _located(options: Options) -> Options:
    """With the folders of models that are named as on the hub."""
    names = [name for name in ("target", "draft") if getattr(options, name)]
    away = [name for name in names if not getattr(options, name).exists()]
    if not away:
        return options
    from ..cli.hub import located  # here, as most runs need none of it

    found = {name: located(flag(name), getattr(options, name)) for name in away}
    return options.model_copy(update=found)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def parser() -> argparse.ArgumentParser:
    """Make the parser; values stay text, so that pydantic alone judges them."""
    made = Parser(
        prog="python -m eval.latency_bench",
        description="Time baseline, Hydra, PoE and GLIDE back to back on one device.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, field in Options.model_fields.items():
        value = DEFAULTS[name]
        text = (field.description or "") + (
            f" (default: {_shown(value)})" if value is not None else ""
        )
        made.add_argument(flag(name), metavar="X", default=argparse.SUPPRESS, help=text)
    text = "JSON file with any of these options, by their names with underscores"
    made.add_argument("--config", metavar="FILE", type=Path, help=text)
    return made


def parse(argv: list[str] | None = None) -> Options:
    """Read all three; raise ``UserError`` for the first value that cannot work."""
    flags = vars(parser().parse_args(sys.argv[1:] if argv is None else argv))
    path = flags.pop("config")
    given = {**(_read(path) if path else {}), **flags}
    if "size" in given and given.get("target"):
        raise UserError(f"--size {given['size']}: the target has a shape; leave one of them out")
    named = {name: f"--config {path}: {name}" for name in given} | {n: flag(n) for n in flags}
    return made_of(given, named)


def made_of(given: Mapping[str, Any], named: Mapping[str, str] | None = None) -> Options:
    """Options over the defaults, checked; raises ``UserError``.

    Args:
        named: what an option is called in errors.
    """
    try:
        options = Options.model_validate({**DEFAULTS, **_heads_of(given), **given})
    except ValidationError as error:
        raise _refused(error, given, named or {}) from None
    options = _located(options)
    check(options)
    return options


def _heads_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Number and depth of the heads in a folder."""
    if not given.get("heads") or not given.get("target"):
        return {}
    index = heads_index(Path(given["heads"]))
    return {name: index[name] for name in ("n_heads", "heads_depth")}


def heads_index(folder: Path) -> dict[str, Any]:
    """``index.json`` of a folder of heads."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text("utf-8"))
        int(index["n_heads"]), int(index["heads_depth"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--heads {folder}: no readable index.json there; give a folder that"
            " recipes.hydra.heads has made"
        ) from None
    return index


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"--config {path}: cannot be read ({one_line(str(error))})") from None
    if not isinstance(found, dict):
        raise UserError(f"--config {path}: expected one JSON object, option by option")
    return found


def _refused(
    error: ValidationError, given: Mapping[str, Any], named: Mapping[str, str]
) -> UserError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    place = named.get(name, name)
    if name not in Options.model_fields:
        return UserError(f"{place} is no option; allowed: {', '.join(Options.model_fields)}")
    value = one_line(_shown(given.get(name)))
    return UserError(f"{place} {value}: expected {allowed(Options, name) or first['msg']}")


def check(options: Options) -> None:
    """What no field tells alone; raises ``UserError``."""
    _check_paths(options)
    shape = options.shape
    with_heads = any(row in HEADS_ROWS for row in options.chosen)
    if with_heads and options.heads_depth >= shape.layers:
        raise UserError(
            f"--heads-depth {options.heads_depth}: {shape.name} has {shape.layers} layers and the"
            f" trunk needs one; give 1 to {shape.layers - 1}"
        )
    head = options.draft_head
    if with_heads and isinstance(head, int) and head >= options.n_heads:
        raise UserError(
            f"--poe-draft-head {head}: {options.n_heads} heads are there; give 0 to"
            f" {options.n_heads - 1}, or random"
        )
    drafted = max(*options.gammas, options.poe_gamma, options.chain_gamma, len(options.tree_shape))
    behind = max(options.gen_length, options.poe_max_new_tokens + drafted + 1)
    if options.prompt_length + behind > shape.positions:
        raise UserError(
            f"--prompt-length {options.prompt_length}: {shape.name} has {shape.positions} positions"
            f" and {behind} follow the prompt; give at most {shape.positions - behind}"
        )


def _check_paths(options: Options) -> None:
    for name in ("heads", "draft"):
        path = getattr(options, name)
        if path and not options.target:
            raise UserError(f"--{name} {path}: belongs to a target; give --target DIR")
    if options.draft and not options.draft.exists():
        raise UserError(f"--draft {options.draft}: no such path; give the folder of a draft")
    asked = [row for row in options.chosen if row in GLIDE_ROWS]
    grown = sum(options.tree_shape)
    if "glide_tree" in asked and grown > MOST_NODES:
        raise UserError(
            f"--tree-shape {_shown(options.tree_shape)}: {grown} nodes; give at most {MOST_NODES}"
        )
    if "glide_chain" in asked and options.chain_gamma > MOST_NODES:
        raise UserError(f"--chain-gamma {options.chain_gamma}: give at most {MOST_NODES}")
    if asked and not options.draft:
        raise UserError(f"--rows {asked[0]}: needs --target DIR and its --draft DIR; give both")
    index = heads_index(options.heads) if options.heads else {}
    for name in ("n_heads", "heads_depth"):
        value = getattr(options, name)
        if value != index.get(name, value):
            raise UserError(
                f"{flag(name)} {value}: --heads {options.heads} has {index[name]}; leave it out"
            )
