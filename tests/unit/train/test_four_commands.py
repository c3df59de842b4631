"""The whole way to a draft on a second target: a tiny Qwen2, whose greedy answers are learnt."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from proposers import Qwen2Glide
from proposers.glide.checkpoint import load_glide
from proposers.train.__main__ import main
from proposers.train.answers.chat import Chat
from recipes.train import agreement, drafting

from .answering import EOS, VOCABULARY, WORDS, Reply, Script, serving, words, write_target


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, made sharp, so that an answer depends on what came before."""
    folder = write_target(tmp_path_factory.mktemp("qwen2"))
    torch.manual_seed(4)
    config = Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=64,  # heads of 16, as the drafting kernel wants them
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
        tie_word_embeddings=False,
        eos_token_id=EOS,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def answers_of(target: Path) -> Script:
    """A server of this very model; its answers end after 24 tokens."""
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)

    def answer(prompt: list[int], _number: int) -> Reply:
        ids = torch.tensor([prompt])
        out = model.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=EOS)
        return out[0, len(prompt) :].tolist(), "length"

    return Script(answer=answer)


def test_prompts_in_draft_out(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    texts = [" ".join(WORDS[i % len(WORDS)] for i in words(n, 6)) for n in range(60)]
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"target: {target}\n"
        f"data: {tmp_path / 'data'}\n"
        f"answers: {{prompts: [{prompts}], held_out: [], greedy: 1, lengths: [24, 24]}}\n"
        "train: {epochs: 12, draft_vocab: 0, batch_tokens: 128, learning_rate: 0.01}\n"
        "evaluate: {shapes: [[1, 1, 1]], sequences: 0}\n"
    )
    with serving(answers_of(target)) as address:
        assert main(["answers", "--recipe", str(recipe), "--server", address]) == 0
    for command in ("features", "train", "evaluate"):
        assert main([command, "--recipe", str(recipe)]) == 0
    config, _ = load_glide(tmp_path / "data" / "draft")
    assert config.attention_bias  # a Qwen2's layers have biases
    report = json.loads((tmp_path / "data" / "report" / "report.json").read_text())
    (chain,) = [r for r in report["results"] if r["name"] == "1-1-1"]
    assert chain["all"]["answers"] > 0
    assert chain["all"]["pooled"] > 1.5  # of at most 4; untrained drafts: 1.0
    check_agreement(target, tmp_path / "data" / "draft", prompts, tmp_path)
    capsys.readouterr()
    places = {
        "target": target,
        "draft": tmp_path / "data/draft",
        "features": tmp_path / "data/features",
    }
    line = [text for name, path in places.items() for text in (f"--{name}", str(path))]
    assert drafting.main([*line, "--sequences", "1", "--threads", "1"]) == 0
    assert "[8, 8, 8, 8]" in capsys.readouterr().out


def check_agreement(target: Path, draft: Path, prompts: Path, folder: Path) -> None:
    """What the offline engine accepts, a simulation along its answers accepts as well."""
    run, out = folder / "run", folder / "agreement"
    run.mkdir()
    config = {"method": "longspec", "model": str(draft), "tree_shape": [2, 2]}
    (run / "run.json").write_text(json.dumps({"arms": {"x": config}}))  # as a recipe names them
    records = [served(target, draft, text, n) for n, text in enumerate(texts_of(prompts)[:6], 1)]
    (run / "requests.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    line = ["--run", run, "--prompts", prompts, "--target", target, "--draft", draft, "--out", out]
    assert agreement.main([str(part) for part in line]) == 0
    with open(out / "agreement.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    total = {name: sum(int(row[name]) for row in rows) for name in agreement.HEAD[2:]}
    assert total["steps"] > 30
    assert total["accepted"] > 10
    assert total["simulated steps"] == total["steps"]
    # the last step of an answer, which its length cuts, may count one token less
    assert total["simulated accepted"] == pytest.approx(total["accepted"], abs=len(rows))

    other = [{**record, "token_ids": record["token_ids"][:9]} for record in records]
    (run / "requests.jsonl").write_text("".join(json.dumps(r) + "\n" for r in other))
    assert agreement.main([str(part) for part in line]) == 2  # --out is of other answers
    records[0]["prompt_tokens"] += 1
    (run / "requests.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    assert agreement.main([str(part) for part in line]) == 2
    (run / "requests.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records * 2))
    assert agreement.main([str(part) for part in line]) == 2


def texts_of(prompts: Path) -> list[str]:
    return [json.loads(line)["prompt"] for line in prompts.read_text().splitlines()]


def served(target: Path, draft: Path, text: str, number: int) -> dict[str, Any]:
    """A record as `eval.speed_bench` writes them, by the offline engine with trees ``[2, 2]``."""
    ids = Chat(target).prompt_ids(text)
    model = Qwen2Glide(None, target, draft, dtype=torch.float32)
    asked = (torch.tensor([ids]), torch.tensor([len(ids)]))
    out, accepted, steps, _, _ = model.tree_spec_generate(
        *asked, tree_shape=[2, 2], max_gen_len=24, eos_id=EOS
    )
    return {
        "arm": "x",
        "prompt_id": str(number),
        "category": "words",
        "turn": 0,
        "temperature": 0.0,
        "prompt_tokens": len(ids),
        "token_ids": out[0, :24].tolist(),
        "steps": steps,
        "accepted": accepted,
    }
