"""Tokens in handshakes: where they are found, and which goes first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sanic_chat.errors import UpgradeRefused
from sanic_chat.upgrade.credentials import find_token
from sanic_chat.websocket.handshake import Handshake

COOKIE = "session"


def handshake(**headers: Sequence[str]) -> Handshake:
    return Handshake(
        path_room=None,
        query="",
        headers={name.replace("_", "-"): lines for name, lines in headers.items()},
        http_version="1.1",
        secure=False,
    )


def found(*tokens: str, cookie: str | None = COOKIE, **headers: Sequence[str]) -> str:
    """The token of a handshake with these headers, and these `?token=`."""
    return find_token(handshake(**headers), {"token": tokens} if tokens else {}, cookie=cookie)


@pytest.mark.parametrize("header", ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c "])
def test_authorization(header: str) -> None:
    """The header's scheme may be written in any case and with more space."""
    assert found(authorization=[header]) == "a.b.c"


def test_query() -> None:
    assert found("a.b.c", "d.e.f") == "a.b.c"


@pytest.mark.parametrize(
    "offered",
    [["bearer.a.b.c"], ["sanic-chat.v1, bearer.a.b.c"], ["sanic-chat.v1", "x,bearer.a.b.c , y"]],
)
def test_subprotocol(offered: list[str]) -> None:
    """It is one of the subprotocols that the client offers."""
    assert found(sec_websocket_protocol=offered) == "a.b.c"


@pytest.mark.parametrize(
    "line",
    ["session=a.b.c", 'x=1; session="a.b.c"', "session=a.b.c; session=other", " session = a.b.c ;"],
)
def test_cookie(line: str) -> None:
    """The cookie counts beside an Origin header, with or without quotes."""
    lines = {"cookie": [line], "origin": ["http://here"]}
    request = handshake(**lines)
    assert find_token(request, {}, cookie=COOKIE) == "a.b.c"


@pytest.mark.parametrize(
    ("cookie", "lines"),
    [
        pytest.param(COOKIE, {"cookie": ["session=a.b.c"]}, id="no Origin"),
        pytest.param(None, {"cookie": ["session=a.b.c"], "origin": ["http://here"]}, id="no name"),
        pytest.param(COOKIE, {"cookie": ["xsession=a"], "origin": ["http://here"]}, id="another"),
        pytest.param(COOKIE, {"cookie": ["x=1, session=a"], "origin": ["http://here"]}, id="comma"),
        pytest.param(COOKIE, {"cookie": ["session"], "origin": ["http://here"]}, id="no value"),
    ],
)
def test_a_cookie_that_does_not_count(cookie: str | None, lines: dict[str, Sequence[str]]) -> None:
    """No page may connect, and no cookie count, that this server does not know."""
    with pytest.raises(UpgradeRefused, match="A token is needed"):
        find_token(handshake(**lines), {}, cookie=cookie)


def test_the_first_place_counts() -> None:
    """A token that stands in several places is looked for in their order."""
    headers = {
        "authorization": ["Bearer header"],
        "sec-websocket-protocol": ["sanic-chat.v1, bearer.subprotocol"],
        "cookie": ["session=cookie"],
        "origin": ["http://here"],
    }
    for name, token in (
        ("authorization", "header"),
        ("sec-websocket-protocol", "subprotocol"),
        ("cookie", "cookie"),
        ("none", "query"),
    ):
        request = handshake(**headers)
        assert find_token(request, {"token": ["query"]}, cookie=COOKIE) == token
        headers.pop(name, None)


@pytest.mark.parametrize(
    ("authorization", "tokens"),
    [
        pytest.param([], (), id="nothing"),
        pytest.param([], ("",), id="empty query"),
        pytest.param([""], (), id="empty header"),
        pytest.param(["Bearer"], (), id="scheme alone"),
        pytest.param(["Bearer "], (), id="scheme and space"),
        pytest.param(["Basic YW5uYTpzZWNyZXQ="], (), id="Basic"),
        pytest.param(["Basic YW5uYTpzZWNyZXQ="], ("a.b.c",), id="Basic and query"),
        pytest.param(["a.b.c"], (), id="token without scheme"),
    ],
)
def test_no_token(authorization: list[str], tokens: tuple[str, ...]) -> None:
    """Without a bearer token the answer is a 401 that says what is needed, and repeats nothing."""
    with pytest.raises(UpgradeRefused, match="Bearer") as raised:
        found(*tokens, authorization=authorization)
    assert (raised.value.status, raised.value.code) == (401, "unauthorized")
    assert raised.value.headers == {"WWW-Authenticate": "Bearer"}
    assert "YW5uYTpzZWNyZXQ=" not in raised.value.message
