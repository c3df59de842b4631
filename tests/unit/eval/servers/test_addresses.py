"""Keys, certificates and what is said where a server cannot be spoken to."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval import speed_bench
from eval.cli.errors import UserError
from eval.cli.options import without_keys
from eval.servers.addresses import own, served_model
from eval.servers.http import Address
from eval.servers.server import OK, health

from ..odd_server import answering, content, stream

ANSWER = stream(*content("one", " two", " three"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private certificate for 127.0.0.1 and its key, in one file."""
    return _made(tmp_path_factory.mktemp("tls") / "server.pem", "127.0.0.1")


def _made(path: Path, host: str) -> Path:
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    line += ["-nodes", "-days", "2", "-subj", "/CN=here", "-addext", f"subjectAltName=IP:{host}"]
    subprocess.run([*line, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def bench(url: str, folder: Path, *more: str) -> int:
    line = ["--base-url", url, "--num-prompts", "2", "--output-dir", str(folder), *more]
    return speed_bench.main(line)


def test_a_key_and_a_private_certificate(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with answering(lambda _: ANSWER, key="k", certificate=certificate) as url:
        assert bench(url, tmp_path, "--ca-file", str(certificate)) == 0
    told = json.loads((tmp_path / "results.json").read_text())
    assert (told["arms"][0]["completion_tokens"], told["arms"][0]["num_errors"]) == (6, 0)
    assert "no_counters" not in [warned["name"] for warned in told["warnings"]]


def test_a_certificate_from_the_environment(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with answering(lambda _: ANSWER, certificate=certificate) as url:
        assert bench(url, tmp_path) == 0


def test_a_server_of_ours_is_known_by_its_flags(tmp_path: Path) -> None:
    """Whatever host its certificate names; its key goes with all that is asked of it."""
    made = _made(tmp_path / "own.pem", "10.1.2.3")
    with answering(lambda _: ANSWER, key="k", certificate=made) as url:
        port = int(url.rpartition(":")[2])
        line = ["vllm", "serve", "m", "--api-key=k", "--ssl-certfile", str(made)]
        address = own(line, {}, port)
        assert (address.url, health(address)) == (url, OK)
        assert served_model(address).name == "m"
        other = own([*line[:-1], str(_made(tmp_path / "other.pem", "127.0.0.1"))], {}, port)
        assert "certificate is not trusted" in health(other)


@pytest.mark.parametrize(
    ("line", "env", "key"),
    [
        (["--api-key", "a", "--api_key", "b"], {}, "b"),
        (["--port", "1"], {"VLLM_API_KEY": "c", "OPENAI_API_KEY": "d"}, "c"),
        (["--port", "1"], {"OPENAI_API_KEY": "d"}, "d"),
        ([], {}, None),
    ],
)
def test_the_key_of_a_server_of_ours(line: list[str], env: dict[str, str], key: str | None) -> None:
    address = own(line, env, 5)
    assert (address.key, address.url) == (key, "http://127.0.0.1:5")
    assert "key" not in repr(address)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made.getsockname()[1]


def refused(address: Address) -> str:
    with pytest.raises(UserError) as raised:
        served_model(address)
    return str(raised.value).removeprefix(f"{address.told}: ")


def test_unlike_errors_have_unlike_messages(
    certificate: Path, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.servers.http.Address.client.__defaults__", (0.5,))
    found = [refused(Address("http://127.0.0.1:1", "--arms x=http://127.0.0.1:1"))]
    found.append(refused(Address(f"http://127.0.0.1:{silent}", "x")))
    found.append(refused(Address("http://no-such-host.invalid", "x")))
    with answering(lambda _: ANSWER, key="k", certificate=certificate) as url:
        found.append(refused(Address(url, "x")))
        found.append(refused(Address(url, "x", certificate=certificate)))
        found.append(refused(Address(url.replace("https", "http"), "x")))
    for page in (b"<html>", b"[]", b'{"data": null}', b'{"data": [{"id": 1}]}', b"[" * 100_000):
        with answering(lambda _: ANSWER, pages={"/v1/models": page}) as url:
            found.append(refused(Address(url, "x")))
    with answering(lambda _: ANSWER) as url:
        found.append(refused(Address(f"{url}/else", "x")))
        found.append(refused(Address(url.replace("http", "https"), "x")))
    with answering(lambda _: ANSWER, pages={"/v1/models": b'{"data": []}'}) as url:
        found.append(refused(Address(url, "x")))
    heads = [
        "connection refused; start the server, or give its address as http://HOST:PORT",
        "no answer in time",
        "no such host",
        "its certificate is not trusted (self-signed certificate); give the file",
        "unauthorised (HTTP 401); set OPENAI_API_KEY",
        "the connection broke off; is it https://?",
        *["what answers at /v1/models does not speak OpenAI's protocol"] * 5,
        "not OpenAI's protocol (HTTP 404 at /else/v1/models)",
        "no TLS could be agreed on",
        "the server offers no model",
    ]
    assert [told[: len(head)] for told, head in zip(found, heads, strict=True)] == heads
    assert not any("--base-url" in told for told in found)


def test_a_proxy_that_cannot_be_used_and_a_key_that_cannot_be_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = Address("http://127.0.0.1:1", "x", key="clé")
    assert refused(key).endswith("has letters that no header can hold")
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    assert "gopher" in refused(Address("http://192.0.2.1:1", "x"))


def test_keys_are_not_written_down() -> None:
    line = "vllm serve m --api-key sk-1 --x '--admin-api-key=sk-2 --y'"
    assert without_keys(line) == "vllm serve m --api-key *** --x '--admin-api-key=*** --y'"
