"""The upgrade over real sockets: which URL leads where, bad handshakes, broken frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from websockets.asyncio.client import connect

from ..support.clients import (
    RawClient,
    assert_refused,
    assert_silent,
    receive_until,
    running_server,
)
from ..support.frames import client_frame
from ..support.harness import RedisProcess, ServerProcess, close_code, receive
from ..support.rosters import Watcher

PREFIX = "/api/chat-api"


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url) as server:
        yield server


def connect_to(server: ServerProcess, target: str) -> connect:
    """A client of the `websockets` package with exactly that path and query."""
    return connect(server.url(target), proxy=None, ping_interval=None)


# -- which URL leads where -------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
@pytest.mark.parametrize("path", ["/ws/{room}", "/ws?room={room}", "/ws/{room}?room={room}"])
async def test_room_in_url(server, room, prefix, path):
    """Path, query and both lead into the same room, with and without the prefix."""
    async with (
        server.connect(room) as peer,
        connect_to(server, prefix + path.format(room=room)) as client,
    ):
        await client.send('{"data": "hello"}')
        message = await receive(peer)
        assert (message["room"], message["data"]) == (room, "hello")


@pytest.mark.parametrize("path", ["/ws", "/ws/", "/ws?echo=1"])
async def test_no_room_in_url(server, path):
    """Without a room in the URL messages are global."""
    async with connect_to(server, path) as client:
        await client.send('{"data": "hello"}')
        assert (await receive(client))["room"] is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("caf%C3%A9", "cafe%CC%81", id="composed and decomposed"),
        pytest.param("caf%C3%A9", "caf%c3%a9", id="case of the percent-encoding"),
        pytest.param("lobby", "%6c%6F%62by", id="needlessly encoded"),
        pytest.param("a:b@c", "a%3Ab%40c", id="punctuation"),
        pytest.param(
            "%E0%A4%A8%E0%A4%AE%E0%A4%B8%E0%A5%8D",
            "%e0%a4%a8%e0%a4%ae%e0%a4%b8%e0%a5%8d",
            id="Devanagari",
        ),
        pytest.param("%E1%84%80%E1%85%A1", "%EA%B0%80", id="Hangul"),
    ],
)
@pytest.mark.parametrize("path", ["/ws/", "/ws?room="])
async def test_same_room_in_other_writing(server, one, other, path):
    """Two ways to write a room's name in a URL lead into the same room."""
    marker = str(uuid4())
    async with RawClient(server) as a, RawClient(server) as b:
        assert (await a.request(path + one))[0] == 101
        assert (await b.request(path + other))[0] == 101
        a.send(client_frame(0x81, json.dumps({"data": marker}).encode()))
        opcode, payload = await b.frame()
        assert (opcode, json.loads(payload)["data"]) == (1, marker)


async def test_channel_of_stats(server):
    """A room called stats is reached through ?room=, and by its escaped name."""
    async with (
        connect_to(server, "/ws?room=stats") as a,
        connect_to(server, "/ws/%73tats") as b,
    ):
        await a.send('{"data": 1}')
        assert (await receive(b))["room"] == "stats"


@pytest.mark.parametrize("path", ["/ws?room=a++b", "/ws/a+b", "/ws?room=a%2Bb"])
async def test_plus_is_no_letter(server, path):
    """A plus in a query is a space, of which there are no two in a row; else it is itself."""
    async with RawClient(server) as client:
        status, _, body = await client.request(path)
    assert (status, json.loads(body)["code"]) == (400, "bad_room")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("events=everything", "bad_events"),
        ("events=system&events=everything", "bad_events"),
        ("echo=yes", "bad_echo"),
        ("room=a%0d%0ab", "bad_room"),
        ("room=%00", "bad_room"),
        ("room=a&room=b", "room_conflict"),
    ],
)
async def test_bad_query_of_an_upgrade(server, query, code):
    """A good handshake with a bad query is answered with 400 in JSON."""
    async with RawClient(server) as client:
        status, headers, body = await client.request(f"/ws?{query}")
        assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(body)["code"] == code


# -- handshakes ------------------------------------------------------------------------------


async def test_accept_key(server):
    """The answer to the handshake of RFC 6455 is the one that the RFC gives."""
    async with RawClient(server) as client:
        status, headers, _ = await client.request()
        assert status == 101
        assert headers == {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        }


async def test_no_extension_and_no_subprotocol(server):
    """What a client offers besides is neither accepted nor in the way."""
    async with RawClient(server) as client:
        status, headers, _ = await client.request(
            Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits",
            Sec_WebSocket_Protocol="chat, superchat",
            Connection="keep-alive, UPGRADE",
            Upgrade="WebSocket",
        )
        assert status == 101
        assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(headers)


BAD_HANDSHAKES = {
    "no key": (400, "bad_handshake", {"Sec_WebSocket_Key": None}),
    "short key": (400, "bad_handshake", {"Sec_WebSocket_Key": "dGhlIHNhbXBsZQ=="}),
    "key not in base64": (400, "bad_handshake", {"Sec_WebSocket_Key": "no base64 at all, no"}),
    "key not in ASCII": (400, "bad_handshake", {"Sec_WebSocket_Key": "\u00e9" * 24}),
    "no connection": (400, "bad_handshake", {"Connection": None}),
    "connection without upgrade": (400, "bad_handshake", {"Connection": "keep-alive"}),
    "HTTP/1.0": (400, "bad_handshake", {"version": "HTTP/1.0"}),
    "version 8": (426, "unsupported_version", {"Sec_WebSocket_Version": "8"}),
    "no version": (426, "unsupported_version", {"Sec_WebSocket_Version": None}),
    "version in words": (426, "unsupported_version", {"Sec_WebSocket_Version": "13, 8"}),
    "other upgrade": (426, "upgrade_required", {"Upgrade": "h2c"}),
    "no upgrade": (426, "upgrade_required", {"Upgrade": None}),
}


@pytest.mark.parametrize("case", BAD_HANDSHAKES)
async def test_bad_handshake(server, case):
    """A bad handshake gets 4xx in JSON, and not a line in the log."""
    status, code, changes = BAD_HANDSHAKES[case]
    before = server.log
    async with RawClient(server) as client:
        answer, headers, body = await client.request(**changes)
    assert (answer, json.loads(body)["code"]) == (status, code)
    assert headers["content-type"] == "application/json"
    if code == "unsupported_version":
        assert headers["sec-websocket-version"] == "13"
    if status == 426:
        assert headers["upgrade"] == "websocket"
    assert_silent(server, before)


async def test_two_keys(server):
    """A handshake with two keys is refused."""
    async with RawClient(server) as client:
        status, _, _ = await client.request(Sec_WebSocket_key="dGhlIHNhbXBsZSBub25jZQ==")
        assert status == 400


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, id="not HTTP"),
        pytest.param(b"GET /ws HTTP/1.1\r\nno colon\r\n\r\n", 400, id="bad header"),
        pytest.param(b"GET ws HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="bad URL"),
        pytest.param(b"GET /ws\x00 HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="NUL in the URL"),
        pytest.param(b"NONE ws HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="Sanic's own method"),
        pytest.param(b"GET /ws/\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", 400, id="raw UTF-8"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
        pytest.param(b"GET /ws HTTP/1.1\r\nX: %b\r\n\r\n" % (b"x" * 17000), 431, id="long header"),
        pytest.param(b"POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405, id="POST"),
    ],
)
async def test_bad_request(server, request_bytes, status):
    """What is not even a request is answered in JSON, and not with a line in the log."""
    await assert_refused(server, request_bytes, status)


# -- frames ----------------------------------------------------------------------------------


async def test_frames_in_the_packet_of_the_handshake(server, room):
    """Frames right behind the handshake are processed, in order and each once."""
    frames = [client_frame(0x81, b'{"data": %d}' % number) for number in range(20)]
    async with RawClient(server) as client:
        status, _, _ = await client.request(f"/ws/{room}", behind=b"".join(frames))
        assert status == 101
        received = [json.loads((await client.frame())[1])["data"] for _ in frames]
    assert received == list(range(20))


async def test_half_a_frame_in_the_packet_of_the_handshake(server, room):
    """A frame that begins in the handshake's packet may end in a later one."""
    frame = client_frame(0x81, json.dumps({"data": "x" * 60_000}).encode())
    async with RawClient(server) as client:
        await client.request(f"/ws/{room}", behind=frame[:30_000])
        client.send(frame[30_000:])
        _, payload = await client.frame()
    assert json.loads(payload)["data"] == "x" * 60_000


async def test_handshake_and_close_in_one_packet(server, room):
    """A client that says hello and goodbye in one packet gets both answers."""
    async with RawClient(server) as client:
        status, _, _ = await client.request(f"/ws/{room}", behind=client_frame(0x88, b"\x03\xe8"))
        assert (status, await client.frame()) == (101, (8, b"\x03\xe8"))
        assert await client.reader.read() == b""


TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89

VIOLATIONS = {
    "unmasked": (1002, client_frame(TEXT, b"{}", masked=False)),
    "reserved bit": (1002, client_frame(TEXT | 0x40, b"{}")),
    "reserved opcode": (1002, client_frame(0x83, b"")),
    "reserved control opcode": (1002, client_frame(0x8B, b"")),
    "fragmented ping": (1002, client_frame(PING & 0x7F, b"")),
    "long ping": (1002, client_frame(PING, b"x" * 126)),
    "lonely continuation": (1002, client_frame(0x80, b"x")),
    "text inside a message": (1002, client_frame(0x01, b"x") + client_frame(TEXT, b"x")),
    "close with half a code": (1002, client_frame(CLOSE, b"\x03")),
    "close with 1005": (1002, client_frame(CLOSE, b"\x03\xed")),
    "binary": (1003, client_frame(BINARY, b"{}")),
    "bad UTF-8": (1007, client_frame(TEXT, b'{"data":"\xff"}')),
    "bad UTF-8 in a fragment": (1007, client_frame(0x01, b"\xed\xa0\x80")),
    "truncated UTF-8": (1007, client_frame(TEXT, b"\xc3")),
    "bad UTF-8 in a close": (1007, client_frame(CLOSE, b"\x03\xe8\xff")),
    "64 KiB and a byte": (1009, client_frame(TEXT, b" " * 65_537)),
    "too big in fragments": (
        1009,
        client_frame(0x01, b" " * 60_000) + client_frame(0x80, b" " * 6_000),
    ),
    "129 empty fragments": (
        1008,
        client_frame(0x01) + client_frame(0x00) * 127 + client_frame(0x80),
    ),
    "endless fragments of a byte": (
        1008,
        client_frame(0x01, b"x") + client_frame(0x00, b"x") * 999,
    ),
    "length of 2**63": (1009, bytes((TEXT, 0xFF)) + (2**63).to_bytes(8, "big") + bytes(4)),
}


@pytest.mark.parametrize("case", VIOLATIONS)
async def test_violation(server, room, case):
    """What breaks the protocol closes with its code; what came before it is delivered."""
    code, frames = VIOLATIONS[case]
    good = client_frame(TEXT, b'{"data": "good"}')
    async with server.connect(room) as peer, RawClient(server) as client:
        await client.request(f"/ws/{room}")
        client.send(good + frames)
        assert await client.close_code() == code
        assert (await receive(peer))["data"] == "good"


async def test_ping_between_fragments(server, room):
    """A message in fragments arrives whole, and a ping between them is answered."""
    parts = (0x01, b'{"data": "\xc3'), (PING, b"now"), (0x00, b"\xa9"), (0x80, b'"}')
    async with RawClient(server) as client:
        await client.request(f"/ws/{room}")
        for first, payload in parts:
            client.send(client_frame(first, payload))
            await client.writer.drain()
        assert await client.frame() == (0xA, b"now")
        assert json.loads((await client.frame())[1])["data"] == "\u00e9"


async def test_one_byte_a_packet(server, room):
    """However the bytes are split, the message arrives."""
    async with RawClient(server) as client:
        await client.request(f"/ws/{room}")
        for byte in client_frame(TEXT, b'{"data": "slow"}'):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert json.loads((await client.frame())[1])["data"] == "slow"


async def test_exactly_64_kib(server, room):
    """A message of exactly 64 KiB is delivered."""
    text = "x" * (65_536 - len('{"data":""}'))
    async with server.connect(room) as client:
        await client.send(f'{{"data":"{text}"}}')
        assert (await receive(client))["data"] == text


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_close_is_answered(server, room, code):
    """A close frame is answered with its own code, and the socket ends."""
    async with RawClient(server) as client:
        await client.request(f"/ws/{room}")
        client.send(client_frame(CLOSE, code.to_bytes(2, "big") + b"bye"))
        assert await client.close_code() == code
        assert await client.reader.read() == b""


async def test_unclean_ends_leave_the_room(server, room):
    """Resets and half frames end sessions without a trace in log or room."""
    async with server.connect(room, events="presence") as peer:
        watcher = Watcher(peer)
        for end in (b"", client_frame(TEXT, b'{"data": 1}')[:5], client_frame(0x01, b"x")):
            async with RawClient(server) as client:
                await client.request(f"/ws/{room}")
                client.send(end)
                await client.writer.drain()
                await watcher.until(lambda seen: seen.sessions == 2)
            await watcher.until(lambda seen: seen.sessions == 1)
        await peer.send('{"data": "still here"}')
        assert await receive_until(peer, "still here") == []
    assert "Traceback" not in server.log


async def test_websockets_client_closes_cleanly(server, room):
    """The close handshake of an ordinary client ends with 1000."""
    async with server.connect(room) as client:
        await client.close()
    assert await close_code(client) == 1000
