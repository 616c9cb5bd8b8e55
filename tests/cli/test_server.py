"""Which server the commands speak to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanic_chat.cli.server import authorization, server_of


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHAT_URL", "CHAT_TOKEN", "CHAT_API_KEY", "CHAT_API_PREFIX", "CHAT_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "prefix", "http", "ws"),
    [
        (None, None, "http://127.0.0.1:8000/api/chat-api", "ws://127.0.0.1:8000/api/chat-api"),
        ("https://chat.test", None, "https://chat.test/api/chat-api", "wss://chat.test/api/chat-api"),
        ("ws://chat.test:81/", "/chat", "http://chat.test:81/chat", "ws://chat.test:81/chat"),
        ("http://chat.test/behind/proxy/", None, "http://chat.test/behind/proxy", "ws://chat.test/behind/proxy"),
        ("http://[::1]:9", "", "http://[::1]:9", "ws://[::1]:9"),
    ],
)  # fmt: skip
def test_urls(url: str | None, prefix: str | None, http: str, ws: str) -> None:
    """A URL with a path has the prefix in it; one without gets it."""
    server = server_of(url, prefix)
    assert (server.http, server.ws) == (http, ws)


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CHAT_URL names the server if no option does, its file the prefix, CHAT_TOKEN who we are."""
    monkeypatch.setenv("CHAT_URL", "https://chat.test")
    monkeypatch.setenv("CHAT_TOKEN", "abc")
    assert server_of(None, "/x").http == "https://chat.test/x"
    assert server_of("http://other.test", "/x").http == "http://other.test/x"
    path = tmp_path / "chat.env"
    path.write_text("CHAT_API_PREFIX=/mine\n")
    monkeypatch.setenv("CHAT_ENV_FILE", str(path))
    assert server_of(None, None).http == "https://chat.test/mine"
    monkeypatch.setenv("CHAT_ENV_FILE", str(tmp_path / "missing"))
    assert server_of(None, None).http == "https://chat.test/api/chat-api"
    assert authorization("CHAT_TOKEN") == {"Authorization": "Bearer abc"}
    assert authorization("CHAT_API_KEY") == {}
    monkeypatch.setenv("CHAT_API_KEY", "def")
    assert authorization("CHAT_API_KEY", "CHAT_TOKEN") == {"Authorization": "Bearer def"}


@pytest.mark.parametrize(
    "url", ["chat.test", "ftp://chat.test", "http://", "http://anna:geheim@chat.test", "http://x?token=1",
            "http://anna:geheim@chat.test:x", "http://[::1", "http://chat.test:99999", "http://chat.test:0",
            "http://chat test", "http://chat\ntest", "http://.."]
)  # fmt: skip
def test_what_is_no_url(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        server_of(url, None)
    assert end.value.code == 2
    assert "geheim" not in capsys.readouterr().err
