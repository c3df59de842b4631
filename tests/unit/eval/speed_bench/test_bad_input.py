"""Every mistake: exit code 2 and one exact line, before any server starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from eval import speed_bench

from ..fake import Script, serving

KNOWN = "vanilla, longspec, prompt_lookup, ngram, suffix, draft_model, eagle3"
TARGET = "--model {tmp}/target"
WHOLE = "expected a whole number of at least 1"
OVER = "does not go with servers that run already; leave it out"

OPTIONS = [
    ("", "--model: missing; give the target's folder, or --base-url URL"),
    ("--modle x", "unrecognized arguments: --modle x; see --help"),
    ("--port", "--port: expected one argument; see --help"),
    ("--num-prompts 0", f"--num-prompts 0: {WHOLE}"),
    ("--num-prompts five", f"--num-prompts five: {WHOLE}"),
    ("--concurrency 0", "--concurrency 0: expected whole numbers of at least 1, commas between"),
    ("--output-len 1.5", f"--output-len 1.5: {WHOLE}"),
    ("--rounds -1", f"--rounds -1: {WHOLE}"),
    ("--turn 0", f"--turn 0: {WHOLE}"),
    (
        f"{TARGET} --turn 7",
        "--turn 7: the server of arm vanilla would start again at each turn; give vanilla=URL of"
        " one that runs, or leave it out",
    ),
    ("--temperature -0.5", "--temperature -0.5: expected numbers from 0 to 2, commas between"),
    ("--temperature warm", "--temperature warm: expected numbers from 0 to 2, commas between"),
    ("--sampling greedy", "--sampling greedy: expected server or neutral"),
    (
        "--export csv",
        "--export csv: expected flat, openmetrics or both, commas between",
    ),
    (
        "--base-url https://h:1 --ca-file {tmp}/none",
        "--ca-file {tmp}/none: cannot be used (No such file or directory); give a PEM file",
    ),
    (
        "--base-url https://h:1 --ca-file {tmp}/file",
        "--ca-file {tmp}/file: cannot be used (no certificate); give a PEM file",
    ),
    ("--engine tgi", "--engine tgi: expected vllm or sglang"),
    (
        "--tree-shape 4,0,1",
        "--tree-shape 4,0,1: expected whole numbers of at least 1 with commas between",
    ),
    ("--dtype int8", "--dtype int8: expected auto, bfloat16, float16, float32, half or float"),
    ("--port 70000", "--port 70000: expected a port from 1 to 65535"),
    ("--arms vanilla,eagle", f"--arms eagle: unknown; allowed: {KNOWN} or eagle={{JSON}}"),
    (
        "--arms vanilla,,ngram",
        "--arms vanilla,,ngram: no arm name at character 9; allowed:"
        f" {KNOWN}, NAME={{JSON}} or NAME=URL, with commas between",
    ),
    ("--arms ngram,ngram", "--arms: ngram appears twice; give each arm once"),
    (
        "--arms x=[1]",
        "--arms x=[1]: neither a JSON object nor a URL; quote it for the shell, as in"
        """ 'x={"method": "ngram"}'""",
    ),
    ("--arms longspec", "--arms longspec: needs a model; give --draft DIR"),
    ("--model {tmp}/none", "--model {tmp}/none: no such folder; give one that holds config.json"),
    ("--model {tmp}", "--model {tmp}: holds no config.json; give the folder that does"),
    (
        f"{TARGET} --draft {{tmp}}/none",
        "--draft {tmp}/none: no such folder; give one that holds config.json",
    ),
    (
        f"{TARGET} --tree-shape 2,1",
        "--tree-shape 2,1: no arm takes it; add longspec or prompt_lookup to --arms",
    ),
    (
        f"{TARGET} --output-len 512",
        "--output-len 512: the context holds 512 tokens, prompt included; give less than 512",
    ),
    (
        f"{TARGET} --output-len 64 --max-model-len 64",
        "--output-len 64: the context holds 64 tokens, prompt included; give less than 64",
    ),
    (f"{TARGET} --server-args '", "--server-args ': No closing quotation; check quotes"),
    (
        f"{TARGET} --output-dir {{tmp}}/file/x",
        "--output-dir {tmp}/file/x: cannot be written (Not a directory); give another folder",
    ),
    (f"{TARGET} --num-prompts 92", "--num-prompts 92: the data set has 91 prompts; give 1 to 91"),
    (
        "--categories coding,poetry",
        "--categories poetry: unknown; the data set has coding, humanities, math, multilingual,"
        " qa, rag, reasoning, roleplay, stem, summarization, writing",
    ),
    (
        "--dataset {tmp}/none",
        "--dataset {tmp}/none: no such file; give builtin, speed-bench, longbench, spec-bench,"
        " mt-bench, aime, humaneval, sharegpt, NAME:PATH or the path of a data file",
    ),
    ("--base-url localhost:1", "--base-url localhost:1: expected http://HOST:PORT"),
    (
        "--base-url http://127.0.0.1:1",
        "--base-url http://127.0.0.1:1: connection refused; start the server, or give its address"
        " as http://HOST:PORT",
    ),
    ("--base-url http://h:1 --port 80", f"--port: {OVER}"),
    ("--base-url http://h:1 --trace", f"--trace: {OVER}"),
    ("--metrics-source best", "--metrics-source best: expected server, response or file"),
    (
        f"{TARGET} --metrics-source file",
        "--metrics-source file: vllm writes no file of its requests; leave it out, or give"
        " --engine sglang",
    ),
    (
        "--base-url http://h:1 --metrics-file-dir x",
        "--metrics-file-dir x: vllm writes no file of its requests; leave it out, or give"
        " --engine sglang",
    ),
    (
        f"--engine sglang {TARGET} --metrics-file-dir x",
        "--metrics-file-dir x: only for servers that run already; ours write below --output-dir,"
        " leave it out",
    ),
    (
        "--engine sglang --base-url http://h:1 --metrics-source file",
        "--metrics-source file: needs the folder that the running server exports to; give"
        " --metrics-file-dir DIR",
    ),
    (
        "--engine sglang --base-url http://h:1 --metrics-file-dir {tmp}/none",
        "--metrics-file-dir {tmp}/none: no folder that can be read; give the one of the server's"
        " --export-metrics-to-file-dir",
    ),
    (
        """--engine sglang --arms x={"method":"ngram"}""",
        """--arms x={"method": "ngram"}: not for sglang; give "method": "longspec" or"""
        """ "speculative_algorithm", such as 'x={"speculative_algorithm": "NGRAM"}'""",
    ),
    (
        """--arms x={"speculative_algorithm":"NGRAM"}""",
        """--arms x={"speculative_algorithm": "NGRAM"}: not for vllm; give "method" (or the"""
        """ "model" of a draft), such as 'x={"method": "ngram"}'""",
    ),
    (
        "--engine sglang --arms x=[1]",
        "--arms x=[1]: neither a JSON object nor a URL; quote it for the shell, as in"
        """ 'x={"speculative_algorithm": "NGRAM"}'""",
    ),
    ("--base-url http://h:1 --arms a,b", "--arms a,b: --base-url measures one arm; give one name"),
]

LINES = [
    ("{", "{data}:1: not JSON; expected one object a line"),
    ("[1]", "{data}:1: a JSON list; expected an object"),
    (
        '{"turns": ["Hi"]}\n{"text": "Hi"}',
        "{data}:2: no turns, messages or prompt; expected one of them",
    ),
    ('{"turns": "Hi"}', "{data}:1: turns are not a list of texts"),
    ('{"turns": [1]}', "{data}:1: turns are not a list of texts"),
    ('{"turns": []}', "{data}:1: an empty list of turns; give at least one"),
    ('{"turns": ["a", " "]}', "{data}:1: an empty turn; give it text or take the line out"),
    (
        '{"prompt": "a"}\n{"prompt": ""}\n{"prompt": ""}',
        "{data}:2: an empty turn; give it text or take the line out (2 lines are refused in all)",
    ),
    (
        '{"turns": ["FULL BENCHMARK DATA SHOULD BE FETCHED FROM X"]}',
        "{data}:1: a placeholder in place of the prompt; fetch the full data set first",
    ),
    (
        '{"messages": [{"role": "tool", "content": "a"}]}',
        "{data}:1: messages of role tool; only system and user are supported",
    ),
    (
        '{"id": 1, "prompt": "a"}\n{"id": 1, "prompt": "b"}',
        "{data}:2: id 1 as in line 1; ids must be unique",
    ),
    ("", "{data}: holds no prompts; expected one JSON object a line"),
    ("\udcff", "{data}:1: cannot be read as UTF-8 text (UnicodeDecodeError)"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "config.json").write_text('{"max_position_embeddings": 512}')
    (tmp_path / "file").write_text("")
    return tmp_path


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr, without the program's name."""
    assert speed_bench.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("speed_bench: ")
    return shown.err.removeprefix("speed_bench: ").removesuffix("\n")


@pytest.mark.parametrize(("line", "message"), OPTIONS, ids=[line or "-" for line, _ in OPTIONS])
def test_options(line: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--output-dir={place}/out", *line.replace("{tmp}", str(place)).split()]
    assert refused(arguments, capsys) == message.replace("{tmp}", str(place))


@pytest.mark.parametrize(("text", "message"), LINES)
def test_datasets(text: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = place / "data.jsonl"
    data.write_text(text, "utf-8", errors="surrogateescape")
    found = refused(["--model", f"{place}/target", "--dataset", str(data)], capsys)
    assert found == message.replace("{data}", str(data))


def test_a_port_that_is_taken(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = refused(
            ["--model", f"{place}/target", "--port", str(port), f"--output-dir={place}/out"], capsys
        )
    assert found == (
        f"--port {port}: cannot be used (Address already in use); give a free port, or leave"
        " --port out"
    )


def test_a_config_that_is_no_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "target" / "config.json").write_text("{")
    found = refused(["--model", f"{place}/target", f"--output-dir={place}/out"], capsys)
    assert found == f"--model {place}/target: config.json is not JSON; repair it"


def test_a_model_that_the_server_does_not_offer(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Script()) as url:
        found = refused(
            ["--base-url", url, "--model", "other", f"--output-dir={place}/out"], capsys
        )
    assert found == "--model other: the server offers fake; give one of them"


def test_an_answer_longer_than_the_context(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Script(max_model_len=60)) as url:
        line = ["--base-url", url, "--output-len", "60", f"--output-dir={place}/out"]
        found = refused(line, capsys)
    assert found == (
        "--output-len 60: no prompt fits a context of 60 tokens beside it; give a smaller one or"
        " a larger --max-model-len"
    )


def test_no_sglang(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.executable", "/bin/python")
    line = ["--engine", "sglang", "--model", f"{place}/target", f"--output-dir={place}/out"]
    assert refused(line, capsys) == (
        "sglang: not installed for /bin/python; run pip install sglang"
    )


def test_no_vllm(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", f"{place}/python")
    monkeypatch.setitem(os.environ, "PATH", str(place))
    found = refused(["--model", f"{place}/target", f"--output-dir={place}/out"], capsys)
    assert found == "vllm: not found beside Python or on PATH; run pip install vllm"
