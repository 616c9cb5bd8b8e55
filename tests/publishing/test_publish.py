"""`publish` and `apublish`: what callers give, and what they get back, with a real Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import redis

import sanic_chat
from sanic_chat import BadMessage, ConfigError, apublish, publish

from ..support.harness import DEADLINE, ROOT, RedisProcess

ID = "01a21e1a-17c0-77f1-8c93-3297a1a64900"


@contextmanager
def heard_on(process: RedisProcess, channel: str) -> Iterator[redis.client.PubSub]:
    """A subscriber that is one already."""
    with redis.Redis(port=process.port) as client, client.pubsub() as subscriber:
        subscriber.subscribe(channel)
        assert subscriber.get_message(timeout=DEADLINE)
        yield subscriber


def take(subscriber: redis.client.PubSub) -> dict[str, Any]:
    message = subscriber.get_message(timeout=DEADLINE)
    assert message
    return dict(json.loads(message["data"]))


@pytest.fixture(autouse=True)
def redis_url(shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHAT_REDIS_PREFIX", "CHAT_MAX_MESSAGE_BYTES", "REDIS_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REDIS_URL", shared_redis.url)


@dataclass
class Order:
    number: int
    at: datetime


def test_what_is_published(shared_redis: RedisProcess, room: str) -> None:
    """The message that every pod delivers, and how many subscriptions there were."""
    with heard_on(shared_redis, f"realtime:room:{room}") as subscriber:
        sent = publish(room, {"text": "hi"}, type="chat", sender="anna", id=UUID(ID))
        message = take(subscriber)
    assert sent == sanic_chat.Published(ID, 1)
    del message["timestamp"]
    assert message == {
        "id": ID, "type": "chat", "room": room, "from": "anna", "data": {"text": "hi"}
    }  # fmt: skip


async def test_the_same_without_blocking(shared_redis: RedisProcess, room: str) -> None:
    with heard_on(shared_redis, f"realtime:room:{room}") as subscriber:
        sent = await apublish(room, [1, None], id=ID)
        assert take(subscriber)["data"] == [1, None]
    assert sent == sanic_chat.Published(ID, 1)


def test_nobody_there(room: str) -> None:
    """Nobody is no error; the ID is a new one."""
    first, second = publish(room, 1), publish(room, 1)
    assert first.subscribers == second.subscribers == 0
    assert first.id != second.id


def test_one_user(shared_redis: RedisProcess) -> None:
    with heard_on(shared_redis, "realtime:room:@auth0%7Canna") as subscriber:
        publish(None, "yours", user="auth0|anna")
        assert take(subscriber)["room"] == "@auth0%7Canna"


def test_everybody(shared_redis: RedisProcess) -> None:
    """Without a room it is everybody, in the deployment that the prefix names."""
    with heard_on(shared_redis, "shop:global") as subscriber:
        publish(None, "all", prefix="shop")
        assert take(subscriber)["room"] is None


@pytest.mark.parametrize("user", [None, ""])
def test_a_user_that_is_missing(user: Any) -> None:
    """He is refused: what was meant for one must not go to everybody."""
    with pytest.raises(BadMessage, match="A user is text"):
        publish(None, "secret", user=user)


def test_a_room_and_a_user(room: str) -> None:
    with pytest.raises(BadMessage, match="to a room or to a user"):
        publish(room, 1, user="anna")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "null"),
        (float("nan"), "null"),
        ({1: "a"}, '{"1":"a"}'),
        (Order(7, datetime(2026, 2, 5, tzinfo=UTC)), '{"number":7,"at":"2026-02-05T00:00:00Z"}'),
        (UUID(ID), f'"{ID}"'),
    ],
    ids=str,
)
def test_data(shared_redis: RedisProcess, room: str, data: Any, told: str) -> None:
    """Any JSON value, and what there is a usual way to write as one."""
    with heard_on(shared_redis, f"realtime:room:{room}") as subscriber:
        publish(room, data)
        message = subscriber.get_message(timeout=DEADLINE)
    assert message
    assert f'"data":{told},'.encode() in message["data"]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (object(), "objects of type object"),
        ({(1, 2): 3}, "str-like"),
        ("\ud800", "surrogates not allowed"),
        (nested(100_000), "nested too deeply"),
    ],
    ids=["object", "key", "surrogate", "deep"],
)
def test_no_data(room: str, data: Any, told: str) -> None:
    with pytest.raises(BadMessage, match=f"{told}.*allowed are None, True") as refusal:
        publish(room, data)
    assert refusal.value.code == "bad_message"


def test_the_size(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bounded as a client's, by the setting of the servers."""
    publish(room, "x" * 65534)
    with pytest.raises(BadMessage, match="allowed are 65536"):
        publish(room, "x" * 65535)
    monkeypatch.setenv("CHAT_MAX_MESSAGE_BYTES", "1024")
    with pytest.raises(BadMessage, match="allowed are 1024"):
        publish(room, "x" * 1023)


def test_settings_of_the_environment(
    shared_redis: RedisProcess,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Redis and prefix are those of the server's variables, and its file with the URL."""
    (tmp_path / "url").write_text(shared_redis.url)
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("CHAT_REDIS_PREFIX", "bakery")
    with heard_on(shared_redis, "bakery:global") as subscriber:
        assert publish(None, 1).subscribers == 1
        take(subscriber)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": "http://localhost"}, "redis://"),
        ({"url": ""}, "REDIS_URL is not set"),
        ({"prefix": "a:b"}, "allowed is 1 to 32"),
    ],
    ids=str,
)
async def test_wrong_settings(room: str, wrong: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        publish(room, 1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=told):
        await apublish(room, 1, **wrong)  # type: ignore[arg-type]


def test_no_redis_named(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    with pytest.raises(ConfigError, match="REDIS_URL is not set"):
        publish(room, 1)


def test_it_needs_no_server(room: str) -> None:
    """Nothing of Sanic is loaded, nor of the server's own parts."""
    program = f"import sanic_chat, sys; sanic_chat.publish({room!r}, 1); print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = set(told.stdout.split())
    assert "sanic_chat.publishing.publish" in loaded
    for name in ("sanic", "uvloop", "httptools", "jwt", "click", "rich", "sanic_chat.pod"):
        assert name not in loaded, name
