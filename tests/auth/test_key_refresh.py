"""Keys that change while a server runs: when they are read, and what is kept meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from sanic_chat.auth import key_refresh
from sanic_chat.auth.key_refresh import Keys, RefreshedKeys, keys_of_setting
from sanic_chat.auth.key_sources import Unreadable
from sanic_chat.auth.keys import KeySet, parse_key_set
from sanic_chat.errors import ConfigError

from ..support.harness import DEADLINE, eventually
from ..support.keys import SECRET, jwk_of, new_key, set_of

A, B = (set_of(jwk_of(new_key(), kid=name)) for name in "ab")
BROKEN = b'{"keys": ['


class Source:
    """A source of keys, in the hands of the test."""

    name = "AUTH_KEYS_FILE 'x'"

    def __init__(self, text: bytes | Exception = A) -> None:
        self.text = text
        self.reads = 0
        self.abandoned = 0
        self.released = threading.Event()
        self.released.set()

    def read(self) -> bytes:
        self.reads += 1
        assert self.released.wait(DEADLINE)
        if isinstance(self.text, Exception):
            raise self.text
        return self.text

    def abandon(self) -> None:
        self.abandoned += 1


def parse(text: bytes) -> KeySet:
    return parse_key_set(text, ["ES256"], with_secrets=False)


@pytest.fixture
def source() -> Source:
    return Source()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "keys"]


@asynccontextmanager
async def running(
    source: Source,
    *,
    interval: float = 0.01,
    on_unknown: bool = False,
    parse: Callable[[bytes], KeySet] = parse,
) -> AsyncIterator[RefreshedKeys]:
    keys = RefreshedKeys(source, parse, interval=interval, on_unknown=on_unknown)
    await keys.start()
    try:
        yield keys
    finally:
        keys.stop()
        source.released.set()
        await eventually(lambda: not threads(), "its thread has ended")


def ids(keys: Keys) -> list[str | None]:
    return [] if keys.current is None else [key.id for key in keys.current.keys]


async def test_there_when_it_starts(source: Source) -> None:
    async with running(source, interval=60) as keys:
        assert ids(keys) == ["a"]
        assert keys.age is not None
        assert keys.age < DEADLINE


async def test_new_ones(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """They take the place of the old, and the log says so; the same ones again are no news."""
    caplog.set_level(logging.INFO)
    async with running(source) as keys:
        first = keys.current
        await eventually(lambda: source.reads > 3, "they were read again")
        assert keys.current is first
        source.text = B
        await eventually(lambda: ids(keys) == ["b"], "new keys")
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"AUTH_KEYS_FILE 'x': the keys are 1 ('{name}' for ES256)" for name in "ab"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (BROKEN, "it is no JSON"),
        (set_of(), r"it has no key for tokens (it is empty)"),
        (Unreadable("No such file"), "No such file"),
        (ZeroDivisionError(), "it cannot be read: ZeroDivisionError"),
    ],
)
async def test_broken_ones(
    source: Source, caplog: pytest.LogCaptureFixture, broken: bytes | Exception, why: str
) -> None:
    """The old ones stay; it is said once, counted each time, and said when it is over."""
    async with running(source) as keys:
        caplog.clear()
        caplog.set_level(logging.INFO)
        source.text = broken
        await eventually(lambda: keys.failures > 3, "it has failed")
        assert ids(keys) == ["a"]
        source.text = A
        await eventually(lambda: len(caplog.records) > 1, "it is over")
    assert [record.getMessage() for record in caplog.records] == [
        f"AUTH_KEYS_FILE 'x' cannot be used, and the keys stay as they were: {why}",
        "AUTH_KEYS_FILE 'x' can be used again",
    ]
    assert bool(caplog.records[0].exc_info) == isinstance(broken, ZeroDivisionError)


async def test_none_at_first(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """A start does not wait for keys that cannot be read; they are tried again soon."""
    source.text = BROKEN
    async with running(source, interval=600) as keys:
        assert keys.current is None
        assert keys.age is None
        assert "and there are no keys: it is no JSON" in caplog.text
        source.text = A
        await eventually(lambda: ids(keys) == ["a"], "the keys")


async def test_left_out(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Keys that are not used are told, once for each set."""
    source.text = set_of(jwk_of(new_key(), kid="a"), {"kid": "odd"})
    async with running(source) as keys:
        await eventually(lambda: source.reads > 3, "they were read again")
        assert len(keys.doubts()) == 1
    assert caplog.text.count("not used is key 'odd': its kty is") == 1


async def test_that_hang(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that takes too long is given up; while it goes on there is no other."""
    monkeypatch.setattr(key_refresh, "READ_SECONDS", 0.05)
    monkeypatch.setattr(key_refresh, "START_SECONDS", 0.02)
    source.released.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with running(source) as keys:
        assert keys.current is None
        assert loop.time() - began < DEADLINE / 2, "the start does not wait for it"
        monkeypatch.setattr(key_refresh, "START_RETRY_SECONDS", 0.01)
        await eventually(lambda: keys.failures > 1, "it is tried again")
        assert source.reads == 1
        assert source.abandoned
        source.released.set()
        await eventually(lambda: ids(keys) == ["a"], "the keys")


async def test_the_end_does_not_wait(source: Source) -> None:
    """Nobody waits at the end for what hangs: neither the loop nor the process."""
    keys = RefreshedKeys(source, parse, interval=0.01, on_unknown=False)
    await keys.start()
    source.released.clear()
    await eventually(lambda: source.reads > 1, "it reads")
    keys.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert source.abandoned > 1
    [thread] = threads()
    assert thread.daemon
    source.released.set()
    thread.join(DEADLINE)


class TestUnknown:
    async def test_once_in_a_while(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first key that nobody knows is worth a reading at once, a flood one a time."""
        monkeypatch.setattr(key_refresh, "UNKNOWN_SECONDS", 0.5)
        loop = asyncio.get_running_loop()
        async with running(source, interval=600, on_unknown=True) as keys:
            source.text = B
            began = loop.time()
            keys.miss("b")
            await eventually(lambda: ids(keys) == ["b"], "new keys")
            while source.reads < 4:
                keys.miss("c")
                await asyncio.sleep(0)
            assert loop.time() - began >= 1.0, "one at once, and two more"

    async def test_that_are_none(self, source: Source, caplog: pytest.LogCaptureFixture) -> None:
        """They are told, a few of a flood, escaped and cut."""
        async with running(source, interval=600) as keys:
            for number in range(1000):
                keys.miss(f"\x1b\n{number}" * 100)
        assert source.reads == 1, "a file is looked at often enough"
        [told] = [text for text in caplog.messages if "Tokens" in text]
        start = r"Tokens name a key that is not in AUTH_KEYS_FILE 'x': '\x1b\n0\x1b"
        assert told.startswith(start)
        assert len(told) < 200


class TestLoad:
    def test_now(self, source: Source) -> None:
        keys = RefreshedKeys(source, parse, interval=1, on_unknown=False)
        keys.load()
        assert ids(keys) == ["a"]

    @pytest.mark.parametrize("broken", [BROKEN, Unreadable("No such file")])
    def test_none(self, source: Source, broken: bytes | Exception) -> None:
        source.text = broken
        keys = RefreshedKeys(source, parse, interval=1, on_unknown=False)
        with pytest.raises(ConfigError, match=r"AUTH_KEYS_FILE 'x' gives no keys: .*; allowed is"):
            keys.load()


async def test_of_a_setting() -> None:
    """It is there from the start to the end."""
    keys = keys_of_setting(SECRET, ["HS256"])
    keys.load()
    await keys.start()
    keys.miss("x")
    keys.stop()
    assert ids(keys) == [None]
    assert (keys.age, keys.failures, keys.doubts()) == (None, 0, [])
