"""Questions to Redis: each gets its own answer, or a reason why there is none."""

from __future__ import annotations

import asyncio
import signal
from contextlib import closing

import pytest
import redis.asyncio

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.doctor import redis_probe
from sanic_chat.doctor.findings import Unanswerable
from sanic_chat.doctor.redis_probe import RedisProbe

from ..support.harness import RedisProcess, free_port


def probe(url: str) -> RedisProbe:
    return RedisProbe(Endpoint(url))


async def test_questions_at_once(shared_redis: RedisProcess) -> None:
    """Many may ask; none gets the answer to another's question."""
    async with probe(shared_redis.url) as asked:
        await asked.open()
        words = [f"word-{number}" for number in range(50)]
        answers = await asyncio.gather(*(asked.value("ECHO", word) for word in words))
        assert answers == [word.encode() for word in words]
        assert asked.hello["mode"] == "standalone"
        assert "maxclients" in await asked.info("clients")
        assert await asked.config("maxmemory-policy") == "noeviction"
        with pytest.raises(Unanswerable, match="no parameter"):
            await asked.config("nothing-of-the-kind")


async def test_messages_are_no_answers(shared_redis: RedisProcess) -> None:
    """What others publish meanwhile is passed over."""
    async with (
        probe(shared_redis.url) as asked,
        redis.asyncio.Redis(port=shared_redis.port) as other,
    ):
        await asked.open()
        await asked.ask(("SUBSCRIBE", "probe-test"))
        for _ in range(5):
            await other.publish("probe-test", "noise")
        [answer] = await asked.ask(("SUBSCRIBE", "probe-test-2"))
        assert answer == [b"subscribe", b"probe-test-2", 2]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:{port}", "refused|Connect call failed"),
        ("redis://:geheim@127.0.0.1:{redis}", "AUTH"),
        ("redis://127.0.0.1:{redis}/99", "DB index is out of range"),
        ("rediss://127.0.0.1:{redis}", "is TLS spoken there"),
    ],
)
async def test_no_connection(
    shared_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch, url: str, told: str
) -> None:
    """The reason is told, and no password."""
    monkeypatch.setattr(redis_probe, "CONNECT_SECONDS", 1.0)
    asked = probe(url.format(port=free_port(), redis=shared_redis.port))
    with pytest.raises(OSError, match=told) as error:
        await asked.open()
    assert "geheim" not in str(error.value)
    with pytest.raises(Unanswerable, match="no connection"):
        await asked.ask(("PING",))
    await asked.close()


async def test_a_redis_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for ever, and later questions do not get its late answers."""
    monkeypatch.setattr(redis_probe, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(redis_probe, "ANSWER_SECONDS", 0.5)
    with closing(RedisProcess()) as process:
        process.start()
        async with probe(process.url) as asked:
            await asked.open()
            process.signal(signal.SIGSTOP)
            with pytest.raises(Unanswerable, match=r"no answer within 0\.5 s"):
                await asked.value("ECHO", "late")
            with pytest.raises(OSError, match=r"no answer within 0\.5 s"):
                await probe(process.url).open()
            process.signal(signal.SIGCONT)
            with pytest.raises(Unanswerable, match="no connection"):
                await asked.value("ECHO", "next")
            await asked.open()
            cancelled = asyncio.ensure_future(asked.value("DEBUG", "SLEEP", "0.2"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(Unanswerable, match="no connection"):
                await asked.value("ECHO", "next")
