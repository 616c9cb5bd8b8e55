"""The message contract, end to end through one server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ..support.clients import receive_until, running_server
from ..support.harness import RedisProcess, ServerProcess, receive, receive_event
from ..support.messages import KEYS, command


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(REDIS_URL=shared_redis.url) as server:
        yield server


# -- the shape of a message ------------------------------------------------------------------


async def test_six_keys(server, room):
    """A message has always the same six keys in the same order, in compact JSON."""
    async with server.connect(room) as client:
        await client.send('{"data": {"text": "hi"}}')
        text = await client.recv()
    pattern = (
        r'{"id":"[0-9a-f-]{36}","type":"chat","room":"ROOM","from":"[0-9a-f-]{36}",'
        r'"data":{"text": "hi"},"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"}'
    ).replace("ROOM", room)
    assert re.fullmatch(pattern, text)


async def test_order_of_keys_is_the_servers(server, room):
    """Whatever order and extra keys a client sends, the six come in theirs."""
    async with server.connect(room) as client:
        await client.send(
            '{"extra": 1, "data": 1, "timestamp": "x", "type": "notification", "pod_id": "x"}'
        )
        assert list(json.loads(await client.recv())) == KEYS


@pytest.mark.parametrize("kind", ["chat", "presence", "notification"])
async def test_type_is_kept(server, room, kind):
    """A client may give any type but system."""
    async with server.connect(room) as client:
        await client.send(json.dumps({"type": kind, "data": 1}))
        assert (await receive(client))["type"] == kind


DATA = {
    "spaces": '{ "b" :1 ,\t"a": [ 1,2 ] }',
    "order and duplicates of keys": '{"b":1,"a":2,"b":3}',
    "long number": "123456789012345678901234567890.10",
    "exponent": "1E+2",
    "negative zero": "-0.0",
    "escapes": r'"\u00e9\/\ud83d\ude00\u0000"',
    "raw UTF-8": '"é שלום 😀 \u2028"',
    "HTML": '"<script>alert(1)</script>"',
    "terminal": r'"\u001b[31mred\u001b[2J \u0007\r\n"',
    "text direction": '"\u202etxt.exe"',
    "huge number": "1e400",
    "huge integer": "1" + "0" * 5000,
    "many keys": "{" + ",".join(f'"k{n}":{n}' for n in range(4000)) + "}",
    "null": "null",
    "false": "false",
    "empty string": '""',
    "nested": "[" * 200 + "]" * 200,
}


@pytest.mark.parametrize("case", DATA)
async def test_data_byte_for_byte(server, room, case):
    """Data arrives byte for byte as it was sent, and stands in no log."""
    before = server.log
    async with server.connect(room) as client:
        await client.send(f'{{"data": {DATA[case]}}}')
        text = await client.recv()
    assert f'"data":{DATA[case]},"timestamp":' in text
    assert server.log == before


@pytest.mark.parametrize(
    "id", ["0190f0e0-1111-7222-8333-444455556666", "A2B5C0E0-FFFF-4222-9333-ABCDEFABCDEF"]
)
async def test_id_is_kept(server, room, id):
    """A client's own UUID stays the message's, letter for letter."""
    async with server.connect(room) as client:
        await client.send(json.dumps({"id": id, "data": 1}))
        assert (await receive(client))["id"] == id


async def test_id_is_made(server, room):
    """Without an ID the server makes UUIDs of version 7, each one once and in order."""
    async with server.connect(room) as client:
        for _ in range(50):
            await client.send('{"data": 1}')
        ids = [(await receive(client))["id"] for _ in range(50)]
    assert {UUID(id).version for id in ids} == {7}
    assert sorted(set(ids)) == ids


async def test_sender_and_time_cannot_be_forged(server, room):
    """The sender and the time are the server's, whatever the client claims."""
    async with server.connect(room, events="system") as client, server.connect(room) as peer:
        client_id = (await receive_event(client, "welcome"))["client_id"]
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        await client.send(
            '{"data": 1, "from": "server", "sender": "x", "timestamp": "1999-01-01T00:00:00.000Z"}'
        )
        message = await receive(peer)
        assert message["from"] == client_id
        assert before <= datetime.fromisoformat(message["timestamp"]) <= datetime.now(UTC)


async def test_every_client_has_its_own_id(server, room):
    """Without authentication every connection has a client ID of its own, and keeps it."""
    async with server.connect(room) as a, server.connect(room) as b:
        senders = []
        for client in (a, b, a, b):
            await client.send('{"data": 1}')
            senders.append((await receive(a))["from"])
    assert senders[:2] == senders[2:]
    assert senders[0] != senders[1]


# -- who receives what -----------------------------------------------------------------------


async def test_who_receives_what(server, room):
    """A room message goes to its members only, a global one to everybody."""
    other, marker = f"other-{room}", str(uuid4())
    async with (
        server.connect(room) as sender,
        server.connect(room) as member,
        server.connect(other) as stranger,
        server.connect() as nowhere,
    ):
        await sender.send('{"data": "default"}')
        await sender.send(json.dumps({"data": "named", "room": room}))
        await sender.send(json.dumps({"data": marker, "room": None}))
        for client, expected in (
            (sender, [("default", room), ("named", room)]),
            (member, [("default", room), ("named", room)]),
            (stranger, []),
            (nowhere, []),
        ):
            received = await receive_until(client, marker)
            assert [(message["data"], message["room"]) for message in received] == expected


async def test_global_by_default_without_a_room(server):
    """A client without a room speaks to everybody, also to those in rooms."""
    marker = str(uuid4())
    async with server.connect(f"room-{marker}") as member, server.connect() as sender:
        await sender.send(json.dumps({"data": marker}))
        message = await receive(member)
    assert (message["data"], message["room"]) == (marker, None)


async def test_order_of_room_and_global(server, room):
    """Room and global messages of one sender keep their order for who gets both."""
    async with server.connect(room) as sender, server.connect(room) as member:
        for number in range(200):
            await sender.send(
                json.dumps({"data": number, **({"room": None} if number % 3 else {})})
            )
        for client in (sender, member):
            assert [(await receive(client))["data"] for _ in range(200)] == list(range(200))


async def test_silence_by_default(server, room):
    """The server says nothing on its own account: the first thing received is a message."""
    async with server.connect(room) as client, server.connect() as nowhere:
        async with server.connect(room):
            pass  # joins and leaves are not told either
        marker = str(uuid4())
        await client.send(json.dumps({"data": marker, "room": None}))
        assert await receive_until(client, marker) == []
        assert await receive_until(nowhere, marker) == []


async def test_no_echo(server, room):
    """With echo=0 a client does not receive its own messages, and everybody else's it does."""
    async with server.connect(room, echo="0") as quiet, server.connect(room) as peer:
        await quiet.send('{"data": "room"}')
        await quiet.send('{"data": "global", "room": null}')
        assert (await receive(peer))["data"] == "room"
        assert (await receive(peer))["data"] == "global"
        await peer.send('{"data": "answer"}')
        assert (await receive(quiet))["data"] == "answer"


async def test_no_echo_amid_others(server, room):
    """Of many messages of one moment, a client with echo=0 lacks exactly its own."""
    async with server.connect(room, echo="0") as quiet, server.connect(room) as peer:
        for number in range(100):
            await asyncio.gather(quiet.send('{"data": "own"}'), peer.send(f'{{"data": {number}}}'))
        assert [(await receive(quiet))["data"] for _ in range(100)] == list(range(100))
        assert [(await receive(peer))["data"] for _ in range(200)].count("own") == 100


# -- what is refused -------------------------------------------------------------------------


REFUSED = {
    "no JSON": ("bad_json", "nope"),
    "empty": ("bad_json", ""),
    "truncated": ("bad_json", '{"data": '),
    "two values": ("bad_json", '{"data": 1} {"data": 2}'),
    "NaN": ("bad_json", '{"data": NaN}'),
    "Infinity": ("bad_json", '{"data": [-Infinity]}'),
    "leading zero": ("bad_json", '{"data": 01}'),
    "single quotes": ("bad_json", "{'data': 1}"),
    "control character": ("bad_json", '{"data": "a\nb"}'),
    "half a surrogate pair": ("bad_json", r'{"data": "\ud800"}'),
    "half a pair in a key": ("bad_json", r'{"data": {"\udc00": 1}}'),
    "byte order mark": ("bad_json", '\ufeff{"data": 1}'),
    "nested too deeply": ("bad_json", '{"data": ' + "[" * 30_000 + "]" * 30_000 + "}"),
    "objects nested too deeply": ("bad_json", '{"data": ' + '{"a":' * 10_000),
    "NUL": ("bad_json", '{"data": "\0"}'),
    "huge type": ("bad_message", '{"data": 1, "type": "%s"}' % ("x" * 60_000)),
    "huge number for a type": ("bad_message", '{"data": 1, "type": 1e400}'),
    "huge integer for an id": ("bad_message", '{"data": 1, "id": 1%s}' % ("0" * 5000)),
    "many keys and no data": (
        "bad_message",
        "{" + ",".join(f'"k{n}":{n}' for n in range(4000)) + "}",
    ),
    "list": ("bad_message", "[]"),
    "string": ("bad_message", '"data"'),
    "null": ("bad_message", "null"),
    "no data": ("bad_message", '{"type": "chat"}'),
    "unknown type": ("bad_message", '{"type": "shout", "data": 1}'),
    "type null": ("bad_message", '{"type": null, "data": 1}'),
    "room of a wrong type": ("bad_message", '{"room": 5, "data": 1}'),
    "id of a wrong type": ("bad_message", '{"id": 5, "data": 1}'),
    "id that is no UUID": ("bad_id", '{"id": "abc", "data": 1}'),
    "empty id": ("bad_id", '{"id": "", "data": 1}'),
    "room it is not in": ("not_in_room", '{"room": "elsewhere", "data": 1}'),
    "bad room": ("bad_room", '{"room": "a  b", "data": 1}'),
    "empty room": ("bad_room", '{"room": "", "data": 1}'),
    "unknown action": ("unknown_action", command("dance")),
    "huge action": ("unknown_action", command("\x01" * 9000)),
    "no action": ("bad_command", '{"type": "system", "data": {}}'),
    "command of a wrong type": ("bad_command", '{"type": "system", "data": [1]}'),
    "event instead of action": ("bad_command", '{"type":"system","data":{"event":"welcome"}}'),
    "join without a room": ("bad_room", command("join")),
    "join of a bad room": ("bad_room", command("join", room="*")),
    **{
        f"join of {name!a:.20}": ("bad_room", command("join", room=name))
        for name in (
            "?",
            "[a-z]",
            "a/../b",
            "a\nb",
            "a\r\nPUBLISH b",
            "\0",
            "\u202eb",
            "😀",
            "x" * 10_000,
            "e\u0301" * 129,
        )
    },
    "leave of another room": ("not_in_room", command("leave", room="elsewhere")),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused(server, room, case):
    """What is wrong gets an error and goes nowhere, and the connection goes on."""
    code, text = REFUSED[case]
    before = server.log
    async with server.connect(room) as client, server.connect(room) as peer:
        await client.send(text)
        answer = json.loads(await client.recv())
        assert list(answer) == KEYS
        assert (answer["type"], answer["from"]) == ("system", "server")
        assert set(answer["data"]) == {"event", "code", "message", "id"}
        assert (answer["data"]["event"], answer["data"]["code"]) == ("error", code)
        assert len(answer["data"]["message"]) > 10
        assert len(answer["data"]["message"]) <= 300
        if code in ("bad_json", "bad_message") and not case.endswith(("deeply", "huge type")):
            assert answer["data"]["message"].endswith('; a message is like {"data": "hi"}')
        await client.send('{"data": "next"}')
        assert (await receive(client))["data"] == "next"
        assert await receive_until(peer, "next") == []
    assert server.log == before


@pytest.mark.parametrize("case", ["room it is not in", "unknown type", "unknown action"])
async def test_error_names_the_message(server, room, case):
    """An error repeats the ID of the message that it is about."""
    id = str(uuid4())
    async with server.connect(room) as client:
        await client.send(json.dumps({**json.loads(REFUSED[case][1]), "id": id}))
        assert (await receive(client))["data"]["id"] == id


async def test_error_goes_to_its_maker_with_echo_off(server, room):
    """A client that wants no echo still hears of its errors."""
    async with server.connect(room, echo="0") as client:
        await client.send("nope")
        assert (await receive(client))["data"]["code"] == "bad_json"
