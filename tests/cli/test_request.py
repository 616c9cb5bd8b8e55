"""A request of the command line, with servers that are none of ours."""

from __future__ import annotations

import socket
import threading

import pytest

from sanic_chat.cli.request import ask, sentence

from ..support.answering import answering

WHO = {"Authorization": "Bearer geheim"}


def test_what_is_asked() -> None:
    """A GET, or a POST of JSON, by whom we are; no proxy of the environment is asked."""
    with answering(200, b"[1]") as server:
        assert ask(f"{server.url}?a=1", headers=WHO) == b"[1]"
        assert ask(server.url, headers=WHO, body={"b": "é"}) == b"[1]"
    assert server.asked == [
        ("GET", "/x?a=1", "Bearer geheim", b""),
        ("POST", "/x", "Bearer geheim", b'{"b": "\\u00e9"}'),
    ]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, b'{"code":"forbidden_scope","message":"No."}', "403: forbidden_scope: No.\n"),
        (502, b"<html>\x1b[2J", "502: <html>\\x1b[2J\n"),
        (500, b"[1]", "500: [1]\n"),
    ],
)
def test_refusals(status: int, body: bytes, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are told with the server's sentence, and without the query; the exit code is 1."""
    with answering(status, body) as server, pytest.raises(SystemExit) as end:
        ask(f"{server.url}?secret=geheim", headers=WHO)
    assert end.value.code == 1
    assert capsys.readouterr().err == f"{server.url} answers {told}"


def test_hints(capsys: pytest.CaptureFixture[str]) -> None:
    """What mends a refusal of one code stands behind it, and behind no other."""
    for code, told in (("a", "401: a: No. Like this\n"), ("b", "401: b: No\n")):
        body = f'{{"code":"{code}","message":"No"}}'.encode()
        with answering(401, body) as server, pytest.raises(SystemExit):
            ask(server.url, headers=WHO, hints={"a": ". Like this"})
        assert capsys.readouterr().err == f"{server.url} answers {told}"


def test_redirects(capsys: pytest.CaptureFixture[str]) -> None:
    """None is followed: the key is for this server."""
    with answering(200) as other:
        with answering(302, Location=other.url) as server, pytest.raises(SystemExit) as end:
            ask(server.url, headers=WHO)
        assert other.asked == []
    assert end.value.code == 1
    assert "answers 302" in capsys.readouterr().err


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        ask("http://127.0.0.1:1/x", headers=WHO)
    assert end.value.code == 3
    told = capsys.readouterr().err
    assert told.startswith("http://127.0.0.1:1/x is not there: [Errno ")
    assert told.endswith("] Connection refused\n")
    with socket.create_server(("127.0.0.1", 0)) as listening:  # and no HTTP is spoken there

        def hang_up() -> None:
            with listening.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall(b"+OK\r\n")

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(SystemExit) as end:
            ask(f"http://127.0.0.1:{listening.getsockname()[1]}/x", headers=WHO)
        thread.join()
    assert end.value.code == 3
    assert "geheim" not in capsys.readouterr().err


def test_sentences() -> None:
    assert sentence(b'{"code":"a","message":"b"}') == "a: b"
    assert sentence(b'"x"') == '"x"'
