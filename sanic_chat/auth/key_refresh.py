"""The keys of a running server: read anew while it runs.

    KeySource ─→ (a thread) ─→ parse ─→ current ─→ the Authenticator
        ↑                                               │
        └── every `interval`; soon, for an unknown ←────┘

What cannot be read changes nothing: the keys that there are stay.

May live here: when keys are read, and what is said if they cannot be. Must not know tokens, nor
what is in a set of keys.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ..errors import ConfigError
from ..logs.logger import RateLimitedWarning, logger
from .key_sources import READ_SECONDS, KeyFile, KeySource, KeyURL, Unreadable
from .keys import KeySet, key_of_setting, parse_key_set, told

FILE_SECONDS: Final = 2.0
"""The time between two looks at a file."""
URL_SECONDS: Final = 600.0
"""The time between two fetches from a URL."""
RETRY_SECONDS: Final = 60.0
"""The time after which a fetch that has failed is tried again."""
START_RETRY_SECONDS: Final = 30.0
"""The same while there are no keys at all, at the latest."""
UNKNOWN_SECONDS: Final = 60.0
"""The time between two fetches for keys that tokens name and nobody knows."""
START_SECONDS: Final = 3.0
"""The time that a start waits for keys."""


class Keys:
    """The keys of a server, as they are now: these, and no others."""

    def __init__(self, current: KeySet | None) -> None:
        self.current = current
        """None: there are none yet, and no token can be checked."""
        self.failures = 0
        """The readings that have failed."""

    @property
    def age(self) -> float | None:
        """The seconds since they were last read; None if they are not read anew."""
        return None

    def load(self) -> None:
        """Read them now, in this thread. Raises ConfigError."""

    def doubts(self) -> list[str]:
        """Return a sentence for the keys that there are and that are not used."""
        return []

    def miss(self, id: str) -> None:
        """Note that a token names a key which is not there."""

    async def start(self) -> None:
        """Read them from now on, and return when there are some, or 3 s have passed."""

    def stop(self) -> None:
        """Read them no more."""


class RefreshedKeys(Keys):
    """Keys from a source that may change: read every `interval` seconds.

    `on_unknown` says whether a key that is not there is worth a reading out of turn, once in
    `UNKNOWN_SECONDS` at most. `parse` raises ValueError for what is no set of keys. There are no
    keys before `load` or `start`; the latter is called inside a running loop.
    """

    def __init__(
        self,
        source: KeySource,
        parse: Callable[[bytes], KeySet],
        *,
        interval: float,
        on_unknown: bool,
    ) -> None:
        super().__init__(None)
        self._source = source
        self._parse = parse
        self._interval = interval
        self._on_unknown = on_unknown
        self._text = b""
        """The set that the current ones were read from."""
        self._told: KeySet | None = None
        """The keys that the log tells of."""
        self._read_at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_reading = False
        """Whether there is a thread that reads, waited for or not."""
        self._wanted = asyncio.Event()
        """Set when a reading out of turn is worth it."""
        self._next_out_of_turn = 0.0
        self._trouble = RateLimitedWarning(calm=2 * RETRY_SECONDS)
        self._unused = RateLimitedWarning()
        self._unknown = RateLimitedWarning(interval=UNKNOWN_SECONDS)

    @property
    def age(self) -> float | None:
        """The seconds since they were last read; None if they have not been yet."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    def doubts(self) -> list[str]:
        """Return a sentence for the keys of the source that are not used."""
        unused = () if self.current is None else self.current.unused
        return [f"{self._source.name}: not used is {told(unused)}"] if unused else []

    def load(self) -> None:
        """Read the keys now, in this thread. Raises ConfigError."""
        try:
            self._take(*self._read())
        except Unreadable as why:
            raise ConfigError(
                f"{self._source.name} gives no keys: {why}; allowed is a JWK set (RFC 7517)"
            ) from None

    def miss(self, id: str) -> None:
        """Note that a token names a key which is not there; it may be there in a moment."""
        self._unknown.log("Tokens name a key that is not in %s: %.100a", self._source.name, id)
        if self._on_unknown:
            self._wanted.set()

    async def start(self) -> None:
        """Read them from now on, and return when they were read once, or 3 s have passed."""
        first = asyncio.Event()
        self._task = asyncio.create_task(self._run(first))
        with suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), START_SECONDS)

    def stop(self) -> None:
        """Read them no more. Does not wait for a reading that is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, first: asyncio.Event) -> None:
        retry = 1.0
        while True:
            if await self._refresh():
                wait = self._interval * random.uniform(0.95, 1.05)  # not all workers at once
            elif self.current is not None:
                wait = min(RETRY_SECONDS, self._interval)
            else:
                wait = min(retry, self._interval)
                retry = min(2 * retry, START_RETRY_SECONDS)
            first.set()
            await self._turn(wait)

    async def _turn(self, seconds: float) -> None:
        """Wait so long; shorter, if a reading out of turn is wanted, and it is time for one."""
        now = asyncio.get_running_loop().time
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
                await asyncio.sleep(self._next_out_of_turn - now())
        if self._wanted.is_set():
            self._wanted.clear()
            self._next_out_of_turn = now() + UNKNOWN_SECONDS

    async def _refresh(self) -> bool:
        """Read the keys once; whether that went well."""
        try:
            self._take(*await self._read_in_thread())
        except Unreadable as why:
            self.failures += 1
            what = "there are no keys" if self.current is None else "the keys stay as they were"
            text = "%s cannot be used, and %s: %s"
            self._trouble.log(text, self._source.name, what, why, error=why.__cause__)
            return False
        self._trouble.over("%s can be used again", self._source.name)
        if self.current is not self._told:
            self._told = self.current
            logger.info("%s: the keys are %s", self._source.name, self.current)
            for sentence in self.doubts():
                self._unused.log("%s", sentence)
        return True

    async def _read_in_thread(self) -> tuple[bytes, KeySet]:
        """Read in a thread of its own. Raises Unreadable."""
        # None of asyncio's: a process waits for these at its end, and they for a name server.
        if self._is_reading:
            raise Unreadable("the attempt before this one is not over yet")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[bytes, KeySet]] = loop.create_future()

        def settle(found: tuple[bytes, KeySet] | None, error: Exception | None) -> None:
            self._is_reading = False
            if future.done():
                return
            if found is not None:
                future.set_result(found)
            elif error is not None:
                future.set_exception(error)

        def read() -> None:
            found = error = None
            try:
                found = self._read()
            except Exception as caught:
                error = caught
            with suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(settle, found, error)

        try:
            threading.Thread(target=read, name="keys", daemon=True).start()
            self._is_reading = True
            async with asyncio.timeout(READ_SECONDS):
                return await future
        except TimeoutError:
            raise Unreadable(f"it takes more than {READ_SECONDS:g} s") from None
        except Unreadable:
            raise
        except Exception as error:  # also what a library may raise for keys that are odd
            raise Unreadable(f"it cannot be read: {type(error).__name__}") from error
        finally:
            self._source.abandon()

    def _read(self) -> tuple[bytes, KeySet]:
        """The set as it is now, and the keys in it. Raises Unreadable."""
        text = self._source.read()
        if self.current is not None and text == self._text:
            return text, self.current
        try:
            return text, self._parse(text)
        except ValueError as why:
            raise Unreadable(str(why)) from None

    def _take(self, text: bytes, keys: KeySet) -> None:
        self._read_at = time.monotonic()
        self.current, self._text = keys, text


def keys_of_setting(key: str, algorithms: Sequence[str]) -> Keys:
    """Make the keys of AUTH_SECRET or AUTH_PUBLIC_KEY. Raises ConfigError."""
    return Keys(key_of_setting(key, algorithms))


def keys_of_file(path: str, algorithms: Sequence[str]) -> Keys:
    """Make the keys of AUTH_KEYS_FILE."""
    return RefreshedKeys(
        KeyFile(path),
        lambda text: parse_key_set(text, algorithms, with_secrets=True),
        interval=FILE_SECONDS,
        on_unknown=False,
    )


def keys_of_url(url: str, algorithms: Sequence[str]) -> Keys:
    """Make the keys of AUTH_JWKS_URL."""
    return RefreshedKeys(
        KeyURL(url),
        lambda text: parse_key_set(text, algorithms, with_secrets=False),
        interval=URL_SECONDS,
        on_unknown=True,
    )
