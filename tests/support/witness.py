"""Who sees, beside all pods and past the proxy, what a Redis was asked to publish and did."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .harness import eventually
from .stage import PASSWORD, Stage

_PUBLISHED = re.compile(rb'"PUBLISH" "[^"]*" ".*?\\"id\\":\\"([0-9a-f-]{36})\\"', re.IGNORECASE)
_LINE_BYTES = 2**20
_LOOK_SECONDS = 0.02


class Witness:
    """Reads MONITOR of whatever is the primary, from the moment at which it can be reached."""

    def __init__(self, stage: Stage) -> None:
        self.published: defaultdict[str, Counter[int]] = defaultdict(Counter)
        """The IDs of the messages that a PUBLISH was carried out for, and how often on which port:
        a replica carries out what its primary does."""
        self.is_watching = False
        self._stage = stage
        self._followers: dict[int, asyncio.Task[None]] = {}

    async def _watch(self) -> None:
        try:
            while True:
                port = self._stage.redis.port
                if port not in self._followers or self._followers[port].done():
                    self._followers[port] = asyncio.create_task(self._follow(port))
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for follower in self._followers.values():
                follower.cancel()
            await asyncio.wait(self._followers.values())

    async def _follow(self, port: int) -> None:
        """Read what one server does, until it is gone, or does not let anybody in."""
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LINE_BYTES)
            try:
                writer.write(b"AUTH %b\r\nMONITOR\r\n" % PASSWORD.encode())
                while line := await reader.readline():
                    if line.startswith(b"-"):
                        return
                    self.is_watching = True
                    if found := _PUBLISHED.search(line):
                        self.published[found[1].decode()][port] += 1
            finally:
                writer.transport.abort()


@asynccontextmanager
async def witness(stage: Stage, *, at_once: bool) -> AsyncIterator[Witness]:
    """A witness of the stage; `at_once`: it can see already, since Redis is there."""
    one = Witness(stage)
    watching = asyncio.create_task(one._watch())
    try:
        if at_once:
            await eventually(lambda: one.is_watching, "what Redis does is seen")
        yield one
    finally:
        watching.cancel()
        await asyncio.wait([watching])
