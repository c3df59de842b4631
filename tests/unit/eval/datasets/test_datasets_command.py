"""The command ``prepare_data`` itself: mistakes, a dead network, addresses, Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from eval import prepare_data
from eval.cli.errors import UserError
from eval.datasets import fetching


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: NAME; see --help"),
        ("sharegpt", "NAME: invalid choice: 'sharegpt'"),
        ("aime --config x", "--config x: unknown; leave it out"),
        ("speed-bench --config x", "--config x: unknown; speed-bench has qualitative,"),
        ("aime --script x", "--script x: for speed-bench only; leave it out"),
    ],
)
def test_mistakes(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare_data.main(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"prepare_data: {message}")
    assert shown.err.count("\n") == 1


def test_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dead(*given: Any, **more: Any) -> Any:
        raise httpx.ConnectError("Name or service\nnot known")

    monkeypatch.setattr("httpx.stream", dead)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dead)
    for name in ("speed-bench", "mt-bench", "aime"):
        assert prepare_data.main([name, "--output-dir", str(tmp_path)]) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert "cannot be fetched (ConnectError: Name or service not known)" in told


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only from known hosts; once; a torn download leaves nothing that is taken for whole."""
    answers = [b"[1]"]

    def transport(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers.pop()) if answers else httpx.Response(503)

    client = httpx.Client(transport=httpx.MockTransport(transport))
    monkeypatch.setattr("httpx.stream", client.stream)
    online = fetching.Online(tmp_path)
    address = f"https://{fetching.HOSTS[0]}/a/b.json"
    assert online.url(address).read_bytes() == b"[1]"
    assert online.url(address).name.endswith("-b.json")
    with pytest.raises(UserError, match="503"):
        online.url(address + "x")
    assert len(list(tmp_path.iterdir())) == 1
    for bad in ("http://huggingface.co/x", "https://huggingface.co.example.org/x", "file:///x"):
        with pytest.raises(UserError, match="not fetched; only https from"):
            online.url(bad)


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_data, "prepare", stop)
    assert prepare_data.main(["aime"]) == 130
    assert "goes on from here" in capsys.readouterr().err
