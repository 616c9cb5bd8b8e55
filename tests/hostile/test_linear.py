"""Whatever text a client sends, reading it takes a time linear in its length."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sanic_chat.auth.auth import Authenticator
from sanic_chat.auth.key_refresh import keys_of_setting
from sanic_chat.errors import BadMessage, UpgradeRefused
from sanic_chat.logs.redaction import redact
from sanic_chat.protocol.message import parse_message
from sanic_chat.protocol.permissions import MAX_STARS, parse_permissions
from sanic_chat.upgrade.credentials import find_token
from sanic_chat.upgrade.options import parse_options, read_query
from sanic_chat.upgrade.reader import HandshakeReader
from sanic_chat.websocket.handshake import Handshake, accept_key_for
from sanic_chat.websocket.origin import OriginPolicy, normalise_origin

TIMES_LONGER = 16
TOO_MUCH = 80.0
"""What is linear takes 16 times as long for 16 times the text; what is quadratic, 256 times."""

READER = HandshakeReader(["/api/chat-api", ""], max_bytes=10**6)
POLICIES = OriginPolicy(()), OriginPolicy(["https://chat.example.com"])
AUTHENTICATOR = Authenticator(keys_of_setting("s" * 32, ["HS256"]))

HEAD = "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


def check_origin(text: str) -> None:
    normalise_origin(text)
    for policy in POLICIES:
        policy.admits([text], [text], secure=False)


def read_target(text: str) -> None:
    READER.read(f"GET /ws{text} HTTP/1.1\r\n{HEAD}\r\n".encode("latin-1"), secure=False)


def read_header(text: str) -> None:
    READER.read(f"GET /ws HTTP/1.1\r\n{HEAD}X: {text}\r\n\r\n".encode("latin-1"), secure=False)


def judge(text: str) -> None:
    handshake = Handshake(
        path_room=text,
        query=f"room={text}&events={text}",
        headers={"upgrade": [text], "connection": [text], "sec-websocket-key": [text]},
        http_version="1.1",
        secure=False,
    )
    with suppress(UpgradeRefused):
        parse_options(handshake, read_query(handshake))
    with suppress(UpgradeRefused):
        accept_key_for(handshake)


def authenticate(text: str) -> None:
    with suppress(UpgradeRefused):
        AUTHENTICATOR.identify(text)


def look_for_a_token(text: str) -> None:
    headers = ("authorization", "sec-websocket-protocol", "cookie")
    for header in headers:
        handshake = Handshake(
            path_room=None,
            query="",
            headers={header: [text], "origin": ["http://here"]},
            http_version="1.1",
            secure=False,
        )
        with suppress(UpgradeRefused):
            find_token(handshake, {}, cookie="session")


def match(text: str) -> None:
    """A name against the worst pattern that is allowed."""
    with suppress(ValueError):
        rule = {"match": "a*" * MAX_STARS + "b", "allow": ["join"]}
        parse_permissions([rule]).allows("join", text)
    with suppress(ValueError):
        parse_permissions([{"match": text, "allow": ["join"]}])


def parse(text: str) -> None:
    with suppress(BadMessage):
        parse_message(text.encode())


TEXTS = {
    "logged": (
        redact,
        [
            "?", "&", "=", "%", "a", "token", "token=", "token=&", "token =", "token%", "token%25",
            "Token'", 'token":', "eyJ", "eyJaaaaaaaaaaaaaaaa.", "eyJaaaaaaaaaaaaaaaa.a ", "bearer",
            "bearer ", "bearer........", "-", "\n", "?token=' ",
        ],
    ),
    "origin": (
        check_origin,
        ["a", "a:", "://", "a://", "https://", ".", "1:", ":1", "[", "[::", "https://[::1]:", "0"],
    ),
    "target": (read_target, ["/", "a", ".", "?", "&", "/a", "%61", "/stats", "?room=", "a&", "é"]),
    "header": (read_header, [",", "a", " ", "\t", "a\r\nX: ", "é", "\r\nOrigin: a", "upgrade,"]),
    "handshake": (judge, ["a", ",", "upgrade,", " ", "%", "%25", "+", "=", "&", "system,", "é"]),
    "token": (authenticate, [".", "a", "=", " ", "eyJ", "e30.", "W10", "é", "%", "bearer "]),
    "token found": (look_for_a_token, ["bearer.", "bearer.a,", ";", "session=", "a=", " ", ","]),
    "pattern": (match, ["a", "*", "a*", "b", "ab", "@", "é"]),
    "message": (
        parse,
        ["[", '{"data":', "[0,", "9", " ", '"', "\\", '{"id":"', '{"type":"x', "é", '{"data":{},'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "piece"),
    [
        pytest.param(read, piece, id=f"{kind} {piece!r}")
        for kind, (read, pieces) in TEXTS.items()
        for piece in pieces
    ],
)
def test_time(read: Callable[[str], Any], piece: str) -> None:
    """Text of one piece over and over, which is where expressions step back and sorts sort."""
    short, long = (piece * (length // len(piece)) for length in (2000, 2000 * TIMES_LONGER))
    ratios = []
    while len(ratios) < 5:  # a busy machine may disturb one, and what is quadratic stays it
        ratios.append(seconds(read, long) / max(seconds(read, short), 5e-6))
        if ratios[-1] < TOO_MUCH:
            return
    raise AssertionError(f"{TIMES_LONGER} times the text takes {ratios} times as long")


def seconds(read: Callable[[str], Any], text: str) -> float:
    """Of the processor: the shortest of some tries, which is the one that nothing disturbed."""
    times = []
    for _ in range(5):
        began = time.thread_time()
        read(text)
        times.append(time.thread_time() - began)
    return min(times)
