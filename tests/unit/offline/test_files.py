"""Files of targets and drafts: by name on the hub, pickled, in shards, and whole or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval.cli.errors import UserError
from eval.latency_bench.models import build_baseline_model
from eval.latency_bench.options import parse
from eval.long_bench.model import Setting
from eval.long_bench.options import Options, parser
from longspec_plugin.errors import LongSpecError
from longspec_plugin.options import LongSpecOptions
from proposers import LlamaGlide, load_glide_model
from proposers.glide.config import GlideConfig
from proposers.train.features.forward import Target
from proposers.train.target import TargetWeights
from proposers.train.trainer.settings import TrainSettings
from tests.unit import hub_cache

from .test_loading import published_tensors
from .tiny import ragged_prompts, tiny_draft, tiny_target

ROWS = ("--rows", "baseline,glide_tree")
TARGET, DRAFT = "lmsys/vicuna-7b-v1.5", "sail/longspec-vicuna-7b-v1.5"
State = dict[str, torch.Tensor]


def half(state: State, prefix: str, suffix: str) -> dict[str, State]:
    """Two shards."""
    names = sorted(state)
    cut = len(names) // 2
    parts = (names[:cut], names[cut:])
    return {
        f"{prefix}-0000{i}-of-00002.{suffix}": {n: state[n] for n in part}
        for i, part in enumerate(parts, 1)
    }


def write(folder: Path, state: State, form: str) -> None:
    """Weights as ``safetensors`` or ``bin``, in one file or in ``sharded`` ones."""
    suffix = "bin" if "bin" in form else "safetensors"
    prefix = "pytorch_model" if suffix == "bin" else "model"
    whole = f"{prefix}.{suffix}"
    files = half(state, prefix, suffix) if "sharded" in form else {whole: state}
    for name, part in files.items():
        if suffix == "bin":
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, metadata={"format": "pt"})
    if len(files) > 1:
        index = {name: file for file, part in files.items() for name in part}
        (folder / f"{whole}.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": index})
        )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "target"
    tiny_target(folder)
    tiny_draft(folder.parent / "draft", json_config(folder))
    return folder


def json_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def decoded(target: Path | str, draft: Path | str | None) -> Any:
    ids, lengths = ragged_prompts(3, seed=1)
    model = LlamaGlide(None, target, draft, device="cpu")
    return model.tree_spec_generate(ids, lengths, [4, 4], 16, eos_id=2)


FORMS = ["safetensors", "bin", "sharded safetensors", "sharded bin"]


@pytest.mark.parametrize("form", FORMS)
def test_published_layouts_by_name(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Ids and accepted drafts are those of the same weights in our layout; old buffers, and files
    that no index names, are let be."""
    state = load_file(target / "model.safetensors")
    state["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(6)
    config = GlideConfig.published(json.loads((target / "config.json").read_text()), tmp_path)
    for name, tensors in (("target", state), ("draft", published_tensors(config))):
        (tmp_path / name).mkdir()
        shutil.copy(target / "config.json", tmp_path / name)
        write(tmp_path / name, tensors, form)
    save_file({"other": torch.ones(1)}, tmp_path / "target" / "consolidated.safetensors")
    if "bin" in form:
        (tmp_path / "target" / "consolidated.safetensors").unlink()
    hub_cache.cached(tmp_path / "hub", TARGET, tmp_path / "target")
    hub_cache.cached(tmp_path / "hub", DRAFT, tmp_path / "draft")
    hub_cache.use(tmp_path / "hub", monkeypatch)
    ours = tmp_path / "ours"
    from proposers.glide.checkpoint import UNUSED, save_glide

    save_glide(
        ours, config, {k: v for k, v in published_tensors(config).items() if k not in UNUSED}
    )
    expected = decoded(target, ours)
    found = decoded(TARGET, DRAFT)
    assert torch.equal(found[0], expected[0])
    assert found[1:3] == expected[1:3]
    assert expected[1] > 0


def test_names_are_taken_everywhere(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the latency benchmark, the evaluations, the trainer, and the engines' ``model`` key."""
    snapshot = hub_cache.cached(tmp_path, TARGET, target)
    draft = hub_cache.cached(tmp_path, DRAFT, target.parent / "draft")
    hub_cache.use(tmp_path, monkeypatch)
    timed = parse(["--target", TARGET, "--draft", DRAFT, "--prompt-length", "9", *ROWS])
    assert (timed.target, timed.draft) == (snapshot, draft)
    assert timed.shape.name == "vicuna-7b-v1.5"
    line = ["--model", TARGET, "--draft", DRAFT, "--device", "cpu"]
    given = vars(parser("long_bench", "", 9, "out").parse_args(line))
    options = Options.of(given)
    setting = Setting(options)
    assert (setting.model, setting.draft) == (snapshot, draft)
    assert (options.settings()["model"], options.settings()["draft"]) == (TARGET, DRAFT)
    training = TrainSettings.read(None, {"target": TARGET, "init": DRAFT})
    assert (training.target, training.init) == (snapshot, draft)
    assert training.target_name == "vicuna-7b-v1.5"
    assert training.place(None, "draft") == Path("data/vicuna-7b-v1.5/draft")
    served = LongSpecOptions.from_config({"method": "longspec", "model": DRAFT})
    assert served.draft == draft.resolve()
    served.build()
    with pytest.raises(LongSpecError, match="draft no/body is neither a folder here nor in"):
        LongSpecOptions.from_config({"method": "longspec", "model": "no/body"})


def test_names_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_cache.use(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=f"{TARGET} is neither a folder here nor in the hub's"):
        LlamaGlide(None, TARGET, DRAFT)
    with pytest.raises(ValueError, match="a--b/c is no folder here, and the hub says"):
        LlamaGlide(None, "a--b/c", DRAFT)


def test_a_cache_that_lacks_a_file(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for missing in ("config.json", "model.safetensors"):
        cache = tmp_path / missing
        snapshot = hub_cache.cached(cache, TARGET, target)
        (snapshot / missing).unlink()
        hub_cache.use(cache, monkeypatch)
        with pytest.raises(ValueError, match=r"has no config.json|holds no weights") as caught:
            LlamaGlide(None, TARGET, None)
        assert "\n" not in str(caught.value)


def lacking(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        del state[name]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def changed(name: str, tensor: torch.Tensor) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        state = {**load_file(folder / "model.safetensors"), name: tensor}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def cut(at: int, name: str = "model.safetensors") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:at])

    return change


def as_form(form: str, then: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        write(folder, state, form)
        then(folder)

    return change


def pickled_code(folder: Path) -> None:
    torch.save({"x": Path("evil")}, folder / "pytorch_model.bin")


SECOND = "model-00002-of-00002.safetensors"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no head": (lacking("lm_head.weight"), r"tensor lm_head.weight \[64, 48\] is missing"),
    "no layer": (
        lacking("model.layers.1.mlp.up_proj.weight"),
        r"tensor model.layers.1.mlp.up_proj.weight \[64, 48\] is missing",
    ),
    "no norm": (lacking("model.norm.weight"), r"tensor model.norm.weight \[48\] is missing"),
    "shape": (
        changed("lm_head.weight", torch.zeros(64, 40)),
        r"lm_head.weight has shape \[64, 40\], config.json asks for \[64, 48\]",
    ),
    "unknown": (
        changed("model.layers.3.mlp.up_proj.weight", torch.zeros(1)),
        "tensor model.layers.3.mlp.up_proj.weight is unknown for this config.json",
    ),
    "cut in the weights": (cut(30_000), "model.safetensors cannot be read, perhaps it is cut"),
    "cut in the header": (cut(100), "model.safetensors cannot be read, perhaps it is cut"),
    "empty": (cut(0), "model.safetensors cannot be read"),
    "cut shard": (
        as_form("sharded safetensors", cut(5000, SECOND)),
        f"{SECOND} cannot be read, perhaps it is cut",
    ),
    "missing shard": (
        as_form("sharded safetensors", lambda folder: (folder / SECOND).unlink()),
        f"model.safetensors.index.json names {SECOND}, which is not there",
    ),
    "bad index": (
        as_form("sharded safetensors", cut(20, "model.safetensors.index.json")),
        "model.safetensors.index.json is no index of weights",
    ),
    "cut pickle": (
        as_form("bin", cut(30_000, "pytorch_model.bin")),
        "pytorch_model.bin cannot be read, perhaps it is cut",
    ),
    "code in a pickle": (
        as_form("bin", pickled_code),
        "pytorch_model.bin cannot be read: it holds other things than tensors",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights; expected one"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "bad config": (lambda f: (f / "config.json").write_text("{"), "config.json"),
}
LOADERS: dict[str, Callable[[Path], Any]] = {
    "offline": lambda folder: load_glide_model(folder, folder.parent / "draft", "cpu"),
    "vanilla": lambda folder: load_glide_model(folder, device="cpu"),
    "features": lambda folder: Target.load(folder, torch.device("cpu"), torch.float32, 64),
    "latency": lambda folder: build_baseline_model(torch.float32, "cpu", folder),
    "training": TargetWeights,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_loads_half(target: Path, tmp_path: Path, fault: str) -> None:
    """Every loader of a target says the same, in one line."""
    folder, (change, message) = tmp_path / "target", FAULTS[fault]
    shutil.copytree(target, folder)
    shutil.copytree(target.parent / "draft", tmp_path / "draft")
    for load in LOADERS.values():
        load(folder)
    change(folder)
    said = set()
    for load in LOADERS.values():
        with pytest.raises((ValueError, UserError), match=message) as caught:
            load(folder)
        said.add(str(caught.value))
    assert len(said) == 1
    assert "\n" not in said.pop()


def test_several_faults_are_counted(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    shutil.copytree(target, folder)
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"is missing; .* is missing; .* is missing; and \d+ more"):
        load_glide_model(folder)


def test_tied_heads_may_be_stored_or_not(tmp_path: Path) -> None:
    tiny_target(tmp_path / "tied", tie_word_embeddings=True)
    first = load_glide_model(tmp_path / "tied", device="cpu")
    state = load_file(tmp_path / "tied" / "model.safetensors")
    assert "lm_head.weight" not in state
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, tmp_path / "tied" / "model.safetensors", metadata={"format": "pt"})
    second = load_glide_model(tmp_path / "tied", device="cpu")
    ids, lengths = ragged_prompts(2, seed=3)
    free = [model.vanilla_generate(ids, lengths, 8)[0] for model in (first, second)]
    assert torch.equal(*free)


def test_quantized_targets_are_refused(target: Path, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    shutil.copytree(target, folder)
    data = json.loads((folder / "config.json").read_text())
    data["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="is quantized; engines serve it"):
        load_glide_model(folder)
