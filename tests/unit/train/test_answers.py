"""`python -m proposers.train answers` against a scripted server: what is stored, what refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from proposers.train.__main__ import main
from proposers.train.answers import client
from proposers.train.answers.chat import Chat
from proposers.train.answers.filters import Gate
from proposers.train.answers.loops import loop_start
from proposers.train.answers.store import Journal
from proposers.train.prompts.overlap import ngrams

from .answering import BOT, EOS, TEMPLATE, USER, WORDS, Reply, Script, serving, words, write_target

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_target(tmp_path_factory.mktemp("target"))


def prompts_file(folder: Path, count: int) -> Path:
    file = folder / "some.jsonl"
    lines = [{"prompt": " ".join(WORDS[i - 4] for i in words(n, 9)), "id": n} for n in range(count)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def command(target: Path, out: Path, address: str, /, **options: object) -> list[str]:
    given = {"target": target, "out": out, "server": address, "held_out": "", **options}
    pairs = [[f"--{key.replace('_', '-')}", str(value)] for key, value in given.items()]
    return ["answers", *(part for pair in pairs for part in pair)]


def stored(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def test_token_ids_are_kept_as_the_server_gave_them(target: Path, tmp_path: Path) -> None:
    script = Script()
    file = prompts_file(tmp_path, 30)
    with serving(script) as address:
        assert main(command(target, tmp_path, address, prompts=file, streams=4)) == 0
    records = stored(tmp_path)
    assert sorted(r["id"] for r in records) == sorted(f"some:{n}" for n in range(30))
    for record in records:
        prompt = [USER, *words(int(record["id"][5:]), 9), EOS, BOT]
        assert record["prompt_ids"] == prompt
        assert record["answer_ids"] == [*words(prompt, 12), EOS]
        assert (record["source"], record["finish"], record["ids"]) == ("file", "stop", "server")
    asked = {tuple(b["prompt"]): b for b in script.asked}
    assert {b["temperature"] for b in script.asked} == {r["temperature"] for r in records}
    plain = {"stop_token_ids": [EOS], "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0}
    assert all(b.items() >= plain.items() and 256 <= b["max_tokens"] <= 448 for b in asked.values())


def test_the_end_is_added_where_the_server_leaves_it_out(target: Path, tmp_path: Path) -> None:
    with serving(Script(keeps_end=False)) as address:
        file = prompts_file(tmp_path, 3)
        assert main(command(target, tmp_path, address, prompts=file)) == 0
    assert all(r["answer_ids"][-1] == EOS and len(r["answer_ids"]) == 13 for r in stored(tmp_path))


@pytest.mark.parametrize("takes_ids", [True, False])
def test_a_server_without_token_ids_gets_its_text_tokenised(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], takes_ids: bool
) -> None:
    with serving(Script(gives_ids=False, takes_ids=takes_ids)) as address:
        file = prompts_file(tmp_path, 3)
        assert main(command(target, tmp_path, address, prompts=file)) == 0
    for record in stored(tmp_path):
        assert record["answer_ids"] == [*words(record["prompt_ids"], 12), EOS]
        assert record["ids"] == "retokenised"
    assert capsys.readouterr().err.count("tokenised again") == 1


def test_the_mix_is_by_category_temperature_and_source(target: Path, tmp_path: Path) -> None:
    script = Script()
    with serving(script) as address:
        assert main(command(target, tmp_path, address, tokens=12_000, streams=8, seed=3)) == 0
    records = stored(tmp_path)
    assert sum(len(r["prompt_ids"]) + len(r["answer_ids"]) for r in records) >= 12_000
    assert len({r["id"] for r in records}) == len(records) > 100
    sources = Counter(r["source"] for r in records)
    assert sources["self"] / len(records) == pytest.approx(0.35, abs=0.05)
    composed = Counter(r["category"] for r in records if r["source"] == "composed")
    assert len(composed) == 15
    rare = [n for name, n in composed.items() if name not in ("math", "complete_code")]
    assert max(rare) - min(rare) <= 3
    heats = [r["temperature"] for r in records]
    assert heats.count(0.0) / len(heats) == pytest.approx(0.6, abs=0.12)
    assert all(heat == 0 or 0.7 <= heat <= 1 for heat in heats)


@pytest.mark.parametrize(
    "own",
    [
        lambda prompt, number: (words(number, 10), "length"),
        lambda prompt, number: ([*words(number, 3), EOS], "stop"),
        lambda prompt, number: ([*words(number, 5) * 20, EOS], "stop"),
    ],
    ids=["without end", "too short", "a loop"],
)
def test_poor_self_written_prompts_are_refused(target: Path, tmp_path: Path, own: Any) -> None:
    with serving(Script(own=own)) as address:
        assert main(command(target, tmp_path, address, tokens=600, streams=2)) == 0
    assert {r["source"] for r in stored(tmp_path)} == {"composed"}


def test_all_prompts_may_be_self_written(target: Path, tmp_path: Path) -> None:
    with serving(Script()) as address:
        given = command(target, tmp_path, address, tokens=600, streams=2, self_written=1)
        assert main(given) == 0
    assert {r["source"] for r in stored(tmp_path)} == {"self"}


def test_a_base_model_gets_plain_text_and_writes_no_prompts(tmp_path: Path) -> None:
    base = write_target(tmp_path / "base", template=None)
    script = Script()
    with serving(script) as address:
        assert main(command(base, tmp_path, address, tokens=500, streams=2)) == 0
    assert all({USER, BOT}.isdisjoint(r["prompt_ids"]) for r in stored(tmp_path))
    assert {r["source"] for r in stored(tmp_path)} == {"composed"}


def looping(prompt: list[int], _number: int) -> Reply:
    return [*words(prompt, 20), *words("round", 15) * 9], "length"


@pytest.mark.parametrize(
    "template", [TEMPLATE, TEMPLATE.replace("<bot>", "<bot> w7 <user>"), None], ids=str
)
def test_a_rendered_prompt_gives_the_users_words_back(tmp_path: Path, template: str) -> None:
    chat = Chat(write_target(tmp_path, template))
    for text in ("w1", "w7 w2 w7 w9", "w0"):
        assert chat.asked(chat.prompt_ids(text)) == text


def test_loops_are_cut_in_the_journal(target: Path, tmp_path: Path) -> None:
    with serving(Script(answer=looping)) as address:
        file = prompts_file(tmp_path, 3)
        assert main(command(target, tmp_path, address, prompts=file)) == 0
    for record in stored(tmp_path):
        expected = [*words(record["prompt_ids"], 20), *words("round", 15) * 2]
        assert (record["finish"], record["answer_ids"]) == ("loop", expected)


@pytest.mark.parametrize(
    ("tokens", "kept"),
    [
        (list(range(50)), None),
        ([9] * 60, 24),  # a block of one counts as one of twelve
        ([*range(20), *(list(range(30, 50)) * 3)], 60),
        ([*range(20), *(list(range(30, 50)) * 7), 30, 31], 60),
        ([*range(20), *(list(range(30, 50)) * 2)], None),
        ([], None),
    ],
)
def test_two_rounds_of_a_loop_are_kept(tokens: list[int], kept: int | None) -> None:
    assert loop_start(tokens) == kept


def test_copies_near_copies_and_held_out_prompts_are_refused() -> None:
    gate = Gate(ngrams("what is the capital of the country where I live"))
    assert gate.admit("composed", "Tell me about tea.")
    assert not gate.admit("self", "tell me, about TEA")
    assert gate.admit("file", "Write a poem about the sea, the wind and an old grey boat.")
    assert not gate.admit("self", "Write a poem about the sea, the wind and an old grey house.")
    assert gate.admit("composed", "Write a poem about the sea, the wind and an old grey mill.")
    assert not gate.admit("composed", "Say: what is the capital of the country where he lives?")
    assert not gate.admit("self", "...")
    assert gate.refused == {"copies": 1, "near copies": 1, "held out": 1, "no words": 1}


def test_held_out_prompts_are_never_asked(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = prompts_file(tmp_path, 12)
    held_out = tmp_path / "held.jsonl"
    lines = file.read_text().splitlines()[:5]
    turns = [{"turns": ["Hello.", f"Well, {json.loads(line)['prompt']}"]} for line in lines]
    held_out.write_text("\n".join(map(json.dumps, turns)))
    script = Script()
    with serving(script) as address:
        given = command(target, tmp_path, address, prompts=file, held_out=held_out)
        assert main(given) == 0
    assert len(script.asked) == len(stored(tmp_path)) == 7
    assert "refused: 5 held out" in capsys.readouterr().out


def test_kill_9_loses_nothing_and_repeats_nothing(target: Path, tmp_path: Path) -> None:
    file, journal = prompts_file(tmp_path, 80), tmp_path / "answers.jsonl"
    with serving(Script(delay=0.1)) as address:
        given = command(target, tmp_path, address, prompts=file, streams=4)
        process = subprocess.Popen([sys.executable, "-m", "proposers.train", *given], cwd=ROOT)
        limit = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 15:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = journal.read_bytes()
        whole = before[: before.rfind(b"\n") + 1]
        journal.write_bytes(whole + b'{"id": "some:79", "catego')  # as a kill may leave it
        assert 15 <= whole.count(b"\n") < 80
        assert main(given) == 0
    assert journal.read_bytes().startswith(whole)
    assert Counter(r["id"] for r in stored(tmp_path)) == Counter(f"some:{n}" for n in range(80))


def test_composed_prompts_go_on_where_they_were(target: Path, tmp_path: Path) -> None:
    with serving(Script()) as address:
        for tokens in (1500, 3000):
            given = command(target, tmp_path, address, tokens=tokens, streams=4, self_written=0)
            assert main(given) == 0
    indices = sorted(int(r["id"].rsplit("-", 1)[1]) for r in stored(tmp_path))
    assert len(set(indices)) == len(indices)
    assert indices[-1] < len(indices) + 8  # no holes but those in flight at the end


def test_a_server_that_stumbles_is_asked_again(target: Path, tmp_path: Path) -> None:
    with serving(Script(fails={3, 5})) as address:
        file = prompts_file(tmp_path, 8)
        assert main(command(target, tmp_path, address, prompts=file, streams=2)) == 0
    assert len(stored(tmp_path)) == 8


def test_a_server_that_fails_for_good_ends_the_run_and_nothing_is_lost(
    target: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    file = prompts_file(tmp_path, 20)
    with serving(Script(fails_from=10)) as address:
        given = command(target, tmp_path, address, prompts=file, streams=2)
        assert main(given) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"answers: error: {address} refuses (500): ")
    assert "goes on from here" in told
    assert len(stored(tmp_path)) == 8
    with serving(Script()) as address:
        assert main(command(target, tmp_path, address, prompts=file)) == 0
    assert len(stored(tmp_path)) == 20


def test_no_server_is_told_in_one_line(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(target, tmp_path, "http://127.0.0.1:9/v1")) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "http://127.0.0.1:9/v1 does not answer; start a server of the target" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "huge"}, "has no model 'huge'; allowed: tiny"),
        ({"categories": "chat,poems"}, "'poems' is unknown; allowed: chat, stem"),
        ({"temperatures": "[1, 0.5]"}, "expected [LOW, HIGH]"),
        ({"greedy": 2}, "greedy=2"),
        ({"prompts": "/nowhere.jsonl"}, "/nowhere.jsonl: No such file"),
        ({"held_out": "/nowhere.jsonl"}, "/nowhere.jsonl: No such file"),
        ({"target": "/nowhere"}, "/nowhere has no config.json"),
    ],
)
def test_mistakes_are_told_in_one_line(
    target: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, object],
    message: str,
) -> None:
    with serving(Script()) as address:
        assert main(command(target, tmp_path, address, **options)) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_server_of_another_model_is_found_out(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script()
    script.answer = lambda prompt, number: (words(number, 6), "length")
    reply = script.reply

    def shifted(body: dict[str, Any]) -> dict[str, Any] | None:
        choice = reply(body)
        assert choice is not None
        return {**choice, "token_ids": [i + 1 if i < 200 else i for i in choice["token_ids"]]}

    script.reply = shifted  # type: ignore[method-assign]
    with serving(script) as address:
        assert main(command(target, tmp_path, address)) == 2
    assert "are not the target's" in capsys.readouterr().err


def test_answers_of_two_models_are_not_mixed(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = prompts_file(tmp_path, 3)
    with serving(Script()) as address:
        assert main(command(target, tmp_path, address, prompts=file)) == 0
    with serving(Script(model="other")) as address:
        assert main(command(target, tmp_path, address, prompts=file)) == 2
    assert "holds answers of model 'tiny', not 'other'" in capsys.readouterr().err


def test_a_journal_has_one_writer_and_names_a_broken_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {"model": "tiny"})
    with pytest.raises(ValueError, match="being written by another process"):
        Journal(tmp_path, {"model": "tiny"})
    journal.close()
    (tmp_path / "answers.jsonl").write_text('{"id": 1}\n{"torn')
    with pytest.raises(ValueError, match=r"answers.jsonl:1 is not an answer"):
        Journal(tmp_path, {"model": "tiny"})


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["answers", "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for default in ("http://127.0.0.1:8000/v1", "[0.7, 1.0]", "[256, 448]", "0.35", "10000000"):
        assert f"(default: {default})" in told
