"""Tokens at the door of a real server: who gets in, under which name, and what the log keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.parse import quote
from uuid import uuid4

import httpx
import jwt
import pytest
from websockets.exceptions import InvalidStatus

from ..support.clients import RawClient, running_server
from ..support.harness import RedisProcess, ServerProcess, receive, receive_event
from ..support.settings import why_it_does_not_start

SECRET = "an-example-secret-of-more-than-32-bytes"
OTHER_SECRET = "another-example-secret-of-over-32-bytes"


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server that logs as much as it can."""
    with running_server(
        "--access-logs",
        "--debug",
        REDIS_URL=shared_redis.url,
        AUTH_ENABLED="true",
        AUTH_SECRET=SECRET,
        AUTH_AUDIENCE="chat",
        AUTH_ISSUER="https://issuer.example/,us",
    ) as server:
        yield server


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    claims = {"sub": "alice", "aud": "chat", "iss": "us", **claims}
    return jwt.encode(claims, secret, algorithm=algorithm)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def unsigned() -> str:
    return jwt.encode({"sub": "alice"}, None, algorithm="none")


REFUSED = {
    "none": (None, "unauthorized"),
    "empty": ("", "unauthorized"),
    "nonsense": ("nonsense", "unauthorized"),
    "three parts of nonsense": ("a.b.c", "unauthorized"),
    "forged": (token(OTHER_SECRET), "unauthorized"),
    "unsigned": (unsigned(), "unauthorized"),
    "another algorithm": (token(SECRET * 2, "HS512"), "unauthorized"),
    "expired": (token(exp=int(time.time()) - 60), "token_expired"),
    "not yet valid": (token(nbf=int(time.time()) + 3600), "unauthorized"),
    "no sub": (jwt.encode({"name": "alice"}, SECRET), "unauthorized"),
    "empty sub": (token(sub=""), "unauthorized"),
    "the server's own name": (token(sub="server"), "unauthorized"),
    "another audience": (token(aud="mail"), "unauthorized"),
    "another issuer": (token(iss="somebody"), "unauthorized"),
    "long sub": (token(sub="x" * 257), "unauthorized"),
}


@pytest.mark.parametrize("where", ["header", "query"])
@pytest.mark.parametrize("case", REFUSED)
async def test_refused(server, case, where):
    """Without a good token the upgrade is answered 401 in JSON, and the token is not shown."""
    text, code = REFUSED[case]
    async with RawClient(server) as client:
        if text is None:
            status, headers, body = await client.request("/ws")
        elif where == "header":
            status, headers, body = await client.request("/ws", Authorization=f"Bearer {text}")
        else:
            status, headers, body = await client.request(f"/ws?token={text}")
    assert status == 401
    assert headers["content-type"] == "application/json"
    assert headers["www-authenticate"].startswith("Bearer")
    error = json.loads(body)
    assert (set(error), error["code"]) == ({"code", "message"}, code)
    if text:
        assert text not in body.decode()


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearer", "Token abc"])
async def test_header_of_another_kind(server, value):
    """A header that is no bearer token is refused, even beside a good token in the query."""
    async with RawClient(server) as client:
        status, _, _ = await client.request(f"/ws?token={token()}", Authorization=value)
    assert status == 401


async def test_header_and_query_work(server, room):
    """A token in the header or in the query opens the door, and its sub is the sender."""
    async with (
        server.connect(room, headers=bearer(token(sub="alice"))) as alice,
        server.connect(room, token=token(sub="b\u00f6b \u2603"), events="system") as bob,
    ):
        assert (await receive_event(bob, "welcome"))["user"] == "b\u00f6b \u2603"
        await alice.send('{"data": 1, "from": "mallory"}')
        await receive(alice)
        assert (await receive(bob))["from"] == "alice"
        await bob.send('{"data": 2}')
        assert (await receive(alice))["from"] == "b\u00f6b \u2603"


async def test_hostile_sub_stays_text(server, room):
    """A sub full of JSON stays the text that it is."""
    sub = 'x","data":"forged","y":"\\ \n\u2028</script>'
    async with server.connect(room, headers=bearer(token(sub=sub))) as client:
        await client.send('{"data": 1}')
        message = await receive(client)
    assert (message["from"], message["data"]) == (sub, 1)


async def test_header_beats_query(server, room):
    """With a token in both places the header decides."""
    async with server.connect(
        room, headers=bearer(token(sub="header")), token=token(sub="query")
    ) as client:
        await client.send('{"data": 1}')
        assert (await receive(client))["from"] == "header"


def test_stats_need_no_token(server):
    """The stats and the page are open."""
    assert server.get("/ws/stats").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{server.port}/").status_code == 200


async def test_clocks_that_differ(server):
    """By default a token is taken up to 30 s early or late."""
    now = int(time.time())
    for claims in ({"iat": now + 10, "nbf": now + 10}, {"exp": now - 10}):
        async with server.connect(headers=bearer(token(**claims))):
            pass


SPELLINGS = {
    "query": "/ws?token={}",
    "query after another": "/ws?room=lobby&token={}",
    "plain GET": "/api/chat-api/ws/lobby?token={}&echo=1",
    "encoded": "/ws?token={encoded}",
    "encoded key": "/ws?%74oken={}",
    "other case": "/ws?a=b&TOKEN={}",
    "semicolon": "/ws?x=1;token={}",
    "quoted": "/ws?token='{}'",
    "encoded equals sign": "/ws?token%3D{}",
    "in the path": "/ws/{}",
    "on the stats": "/ws/stats?token={}",
    "on an unknown path": "/nope?token={}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
async def test_tokens_stay_out_of_the_log(server, spelling, good):
    """A token never gets into the log, even with access logs and in debug mode."""
    text = token(SECRET if good else OTHER_SECRET, sub=f"user-{uuid4()}")
    marker = str(uuid4())
    target = SPELLINGS[spelling].format(text, encoded=quote(text, safe="").replace("e", "%65"))
    async with RawClient(server) as client:
        await client.request(target)
    async with RawClient(server) as client:
        await client.request(f"/ws/stats?marker={marker}", Upgrade=None, Connection=None)
    assert marker in server.log, "the access log is on"
    signature = text.rpartition(".")[2]
    assert signature not in server.log
    assert signature.replace("e", "%65") not in server.log


async def test_websockets_client_sees_401(server):
    """An ordinary client learns of the refusal before there is a connection."""
    with pytest.raises(InvalidStatus) as refusal:
        await server.connect("lobby")
    assert refusal.value.response.status_code == 401


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param({}, "none of them is", id="no key"),
        pytest.param({"AUTH_SECRET": "too-short-secret"}, "at least 32", id="short secret"),
        pytest.param(
            {"AUTH_SECRET": SECRET, "AUTH_PUBLIC_KEY": "key"}, "AUTH_PUBLIC_KEY are", id="two keys"
        ),
        pytest.param({"AUTH_PUBLIC_KEY": "no key at all"}, "PEM", id="no PEM"),
        pytest.param({"AUTH_SECRET": SECRET, "AUTH_ALGORITHMS": "RS256"}, "HS256", id="mismatch"),
    ],
)
def test_does_not_start(in_process, monkeypatch, settings, sentence):
    """Without a usable key the server does not start: exit code 1, and a sentence without it.

    `test_start` has whole commands end so.
    """
    told = why_it_does_not_start(monkeypatch, AUTH_ENABLED="1", **settings)
    assert sentence in told
    for secret in (SECRET, "too-short-secret", "no key at all"):
        assert secret not in told
