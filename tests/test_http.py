"""Plain HTTP: errors in JSON, the stats and the page, through Sanic's own test client."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sanic import Sanic

from sanic_chat import Config, create_app

from .harness import RedisProcess, free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports websockets.legacy
    from sanic_testing.reusable import ReusableClient

PREFIX = "/api/chat-api"


@contextmanager
def running_app(redis: RedisProcess, **settings: str) -> Iterator[ReusableClient]:
    """A client of an application in this process."""
    loop = asyncio.new_event_loop()
    app = create_app(config=Config(redis_url=redis.url, **settings))
    try:
        with ReusableClient(app, loop=loop, port=free_port()) as client:
            yield client
    finally:
        Sanic.unregister_app(app)
        Sanic.test_mode = False
        loop.close()


@pytest.fixture(scope="module")
def client(shared_redis: RedisProcess) -> Iterator[ReusableClient]:
    with running_app(shared_redis) as client:
        yield client


@pytest.fixture
def run_app(shared_redis: RedisProcess) -> Iterator[Callable[..., ReusableClient]]:
    """Make clients of applications with other settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running_app(shared_redis, **settings))


def assert_error(response, status: int, code: str) -> None:
    """The one shape of an error: a status, a code and a sentence."""
    assert response.status == status
    assert response.headers["content-type"] == "application/json"
    assert set(response.json) == {"code", "message"}
    assert response.json["code"] == code
    assert len(response.json["message"]) > 10


@pytest.mark.parametrize(
    "path",
    ["/ws", "/ws/", "/ws/lobby", "/ws?room=lobby", "/ws/%D7%A9%D7%9C%D7%95%D7%9D", "/ws/%73tats"],
)
@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
def test_plain_get(client, prefix, path):
    """A plain GET on the endpoint is told to upgrade, with and without the prefix."""
    _, response = client.get(prefix + path)
    assert_error(response, 426, "upgrade_required")
    assert response.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/ws/a%20b", id="space"),
        pytest.param("/ws/a%2Fb", id="slash"),
        pytest.param("/ws/%2e%2e%2f%2e%2e%2fetc", id="parent directories"),
        pytest.param("/ws/a%0D%0Ab", id="line break"),
        pytest.param("/ws/%00", id="null"),
        pytest.param("/ws/*", id="glob"),
        pytest.param("/ws/%FF%FE", id="not UTF-8"),
        pytest.param("/ws/%F0%9F%98%80", id="emoji"),
        pytest.param("/ws/a%E2%80%AEb", id="right-to-left override"),
        pytest.param("/ws/" + "a" * 129, id="129 characters"),
        pytest.param("/ws/" + "%61" * 2000, id="2000 escaped characters"),
        pytest.param("/ws/%3F", id="question mark"),
        pytest.param("/ws/%5Ba-z%5D", id="pattern"),
        pytest.param("/ws/%C0%AE%C0%AE", id="overlong dots"),
        pytest.param("/ws/%C0%AF", id="overlong slash"),
        pytest.param("/ws/%zz", id="no escape"),
        pytest.param("/ws/%ED%A0%80", id="surrogate"),
        pytest.param("/ws/%3Cscript%3E", id="HTML"),
        pytest.param("/ws?room=", id="empty"),
        pytest.param("/ws?room=a%20b", id="space in the query"),
        pytest.param("/ws/good?room=b%20d", id="bad beside good"),
    ],
)
def test_bad_room(client, path):
    """A bad room name is refused with 400 and the rule."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 400, "bad_room")
    assert "1 to 128 characters" in response.json["message"]


@pytest.mark.parametrize("path", ["/ws/a?room=b", "/ws?room=a&room=b", "/ws/a?room=A"])
def test_room_conflict(client, path):
    """Two different rooms in one URL are refused with 400."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 400, "room_conflict")


@pytest.mark.parametrize("path", ["/ws/a?room=a", "/ws/%C3%A9?room=e%CC%81", "/ws?room=a&room=a"])
def test_same_room_twice(client, path):
    """The same room in path and query is one room, in whichever Unicode form."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 426, "upgrade_required")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("events=nonsense", "bad_events"),
        ("events=system,nonsense", "bad_events"),
        ("events=System", "bad_events"),
        ("echo=2", "bad_echo"),
        ("echo=no", "bad_echo"),
    ],
)
def test_bad_option(client, query, code):
    """Unknown values of events and echo are refused with 400."""
    _, response = client.get(f"{PREFIX}/ws?{query}")
    assert_error(response, 400, code)


@pytest.mark.parametrize("path", ["/nope", PREFIX, PREFIX + "/ws/a/b", PREFIX + "/wsx", "/ws/a/b"])
def test_not_found(client, path):
    """An unknown path answers 404 in JSON."""
    _, response = client.get(path)
    assert_error(response, 404, "not_found")


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
@pytest.mark.parametrize("path", ["/ws", "/ws/lobby", "/ws/stats"])
def test_method_not_allowed(client, method, path):
    """Other methods answer 405 in JSON and say which is allowed."""
    _, response = getattr(client, method)(PREFIX + path)
    assert_error(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
def test_stats(client, prefix):
    """The stats are JSON that nobody may cache."""
    _, response = client.get(prefix + "/ws/stats")
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    stats = response.json
    assert stats["complete"] is True
    assert stats["answered_by"] in [pod["pod_id"] for pod in stats["pods"]]
    assert set(stats["totals"]) == {
        "pods", "rooms", "rooms_exact", "connections", "messages_in", "messages_out",
        "messages_published", "messages_dropped",
    }  # fmt: skip


def test_page(client):
    """The page at / loads nothing from elsewhere and knows the endpoint."""
    _, response = client.get("/")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert f"{PREFIX}/ws" in response.text
    assert "{{" not in response.text


@pytest.mark.parametrize("prefix", ["", "/v2/rt"], ids=["empty", "other"])
def test_prefix_setting(run_app, prefix):
    """CHAT_API_PREFIX moves the endpoint, the stats and what the page connects to."""
    client = run_app(api_prefix=prefix)
    for path in {f"{prefix}/ws", f"{prefix}/ws/lobby", "/ws", "/ws/lobby"}:
        _, response = client.get(path)
        assert_error(response, 426, "upgrade_required")
    assert client.get(f"{prefix}/ws/stats")[1].json["totals"]["pods"] >= 1
    assert_error(client.get(f"{PREFIX}/ws")[1], 404, "not_found")
    page = client.get("/")[1].text
    assert f'"{prefix}/ws"' in page
    assert PREFIX not in page


def test_authentication_comes_first(run_app):
    """Without a token even a bad handshake learns nothing but 401."""
    client = run_app(auth_enabled=True, auth_secret="s" * 32)
    _, response = client.get(f"{PREFIX}/ws/a%20b")
    assert_error(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
