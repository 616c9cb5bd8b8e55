"""Which handshakes are plain, what is read in them, and that nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.upgrade.reader import HandshakeReader
from sanic_chat.websocket.handshake import Handshake

MAX_BYTES = 8192
READER = HandshakeReader(["/api/chat-api", ""], max_bytes=MAX_BYTES)
HEADERS = (
    b"Host: localhost:8000\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def request(target: bytes = b"/ws", more: bytes = b"", *, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, target, HEADERS, more)


def read(data: bytes) -> Handshake | None:
    plain = READER.read(data, secure=False)
    return None if plain is None else plain[0]


@pytest.mark.parametrize("prefix", [b"/api/chat-api", b""])
@pytest.mark.parametrize(
    ("path", "room", "query"),
    [
        (b"/ws", None, ""),
        (b"/ws/lobby", "lobby", ""),
        (b"/ws/a.b_c~d:e@f-1", "a.b_c~d:e@f-1", ""),
        (b"/ws/stats2", "stats2", ""),
        (b"/ws?", None, ""),
        (b"/ws?room=a&room=b", None, "room=a&room=b"),
        (b"/ws/lobby?events=system&echo=0", "lobby", "events=system&echo=0"),
        (b"/ws?room=caf%C3%A9+x&token=", None, "room=caf%C3%A9+x&token="),
    ],
)
def test_plain(prefix: bytes, path: bytes, room: str | None, query: str) -> None:
    """The path of a plain handshake is taken apart, its headers kept, the rest given back."""
    plain = READER.read(request(prefix + path) + b"\x81\x80", secure=True)
    assert plain is not None
    handshake, early = plain
    assert handshake == Handshake(
        path_room=room,
        query=query,
        headers={
            "host": ["localhost:8000"],
            "upgrade": ["websocket"],
            "connection": ["keep-alive, Upgrade"],
            "sec-websocket-version": ["13"],
            "sec-websocket-key": ["dGhlIHNhbXBsZSBub25jZQ=="],
        },
        http_version="1.1",
        secure=True,
    )
    assert early == b"\x81\x80"


def test_headers_are_kept_with_all_their_values() -> None:
    """Names in any case, several values in their order, no blanks around them."""
    handshake = read(request(more=b"ORIGIN:  https://a \r\norigin:https://b\r\nX-Other: c\r\n"))
    assert handshake is not None
    assert handshake.lines("origin") == ["https://a", "https://b"]
    assert handshake.lines("authorization") == ()
    assert "x-other" not in handshake.headers


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(request()[:-1], id="not whole"),
        pytest.param(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", id="no upgrade"),
        pytest.param(request(method=b"POST"), id="POST"),
        pytest.param(request(method=b"CONNECT"), id="CONNECT"),
        pytest.param(request(b"/ws/stats"), id="stats"),
        pytest.param(request(b"/ws/stats?a"), id="stats with a query"),
        pytest.param(request(b"/ws/"), id="slash at the end"),
        pytest.param(request(b"/ws/a/b"), id="deeper"),
        pytest.param(request(b"/ws/.."), id="dots"),
        pytest.param(request(b"/ws/%61"), id="encoded room"),
        pytest.param(request("/ws/é".encode()), id="raw UTF-8 in the path"),
        pytest.param(request(b"/ws?a=\xff"), id="a query that is not ASCII"),
        pytest.param(request(b"/ws?a#b"), id="fragment"),
        pytest.param(request(b"/other"), id="elsewhere"),
        pytest.param(request(b"/api/chat-apix/ws"), id="another prefix"),
        pytest.param(request(b"http://localhost/ws"), id="absolute"),
        pytest.param(request(more=b"Content-Length: 0\r\n"), id="length"),
        pytest.param(request(more=b"Transfer-Encoding: chunked\r\n"), id="chunked"),
        pytest.param(request(more=b"Expect: 100-continue\r\n"), id="expects something"),
        pytest.param(request(more="Origin: é\r\n".encode()), id="a header that is not ASCII"),
        pytest.param(request(more=b"X: %b\r\n" % (b"x" * MAX_BYTES)), id="long"),
        pytest.param(request(more=b"no colon\r\n"), id="no header"),
        pytest.param(request().replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(request(more=b"X: a\r\n b\r\n"), id="folded header"),
    ],
)
def test_not_plain(data: bytes) -> None:
    """What is not plain is not read, and it is not said what it is."""
    assert read(data) is None


@given(cut=st.integers(0, len(request())), junk=st.binary(max_size=8), drop=st.integers(0, 8))
def test_mangled(cut: int, junk: bytes, drop: int) -> None:
    """Whatever arrives, nothing is raised, and what is read is one request's whole head."""
    whole = request()
    data = whole[:cut] + junk + whole[cut + drop :]
    plain = READER.read(data, secure=False)
    if plain is not None:
        handshake, early = plain
        assert data.find(b"\r\n\r\n") == len(data) - len(early) - 4
        assert handshake.http_version in ("1.0", "1.1")
