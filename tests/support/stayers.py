"""Clients that come back, to whatever pod there is, and what those of them believe that watch."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from sanic_chat.presence.presence import WINDOW_SECONDS

from .crowd import Listener, Refused, connect
from .rosters import Roster
from .users import bearer

MAX_PAUSE_SECONDS = 2.0
"""A client that was not told when to come back does so within this time."""
RETRY_SECONDS = 0.05


class Belief:
    """What a client believes of one room, over all its connections.

    A new connection counts from its first roster on, and the one before then does not any more.
    """

    def __init__(self, roster: Roster | None = None) -> None:
        self.roster = roster or Roster()
        self.joined: list[str] = []
        self.left: list[tuple[str, str | None]] = []
        """With the reason; None if a roster had the user no more."""

    @property
    def users(self) -> set[str]:
        return self.roster.users

    def take(self, roster: Roster, message: dict[str, Any]) -> None:
        """Take a message of a connection, of which this is the roster."""
        before, joined, left = self.users, len(roster.joined), len(roster.left)
        roster.take(message)
        is_roster = message["data"]["event"] == "roster"
        is_first = not self.roster.is_known
        if roster is not self.roster:
            if not is_roster:
                return
            self.roster = roster
        if is_roster and not is_first:
            self.joined += roster.users - before
            self.left += [(user, None) for user in before - roster.users]
        self.joined += roster.joined[joined:]
        self.left += roster.left[left:]


class Stayer:
    """A client of a user that is in a room, and comes back unless it is `gone`.

    `ports` are where it can connect; it prefers another one than it was on. Its token has it join
    `rooms`. If a drain tells it
    when to come back, it does, and lets go of the connection before: at once if it `overlaps`, else
    first.
    """

    def __init__(
        self,
        ports: Sequence[int],
        user: str,
        path: str,
        *,
        rooms: Sequence[str] = (),
        overlaps: bool = False,
        gone: bool = False,
    ) -> None:
        self.user = user
        self.gone = gone
        self.beliefs: dict[str, Belief] = {}
        """By room."""
        self.listener: Listener | None = None
        self.connections = 0
        self._ports = ports
        self._path = path
        self._headers = bearer(user, **({"join": rooms} if rooms else {}))
        self._overlaps = overlaps
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._old: list[Listener] = []

    async def connect(self) -> None:
        """Connect, as often as it takes."""
        while True:
            others = [port for port in self._ports if port != self._port]
            port = random.choice(others or self._ports)
            try:
                listener = await connect(port, self._path, **self._headers)
                break
            except (Refused, OSError):
                self._port = 0
                await asyncio.sleep(RETRY_SECONDS)
        self._port = port
        self.connections += 1
        before, self.listener = self.listener, listener
        self._old.append(listener)
        rosters: dict[str, Roster] = {}

        def take(payload: bytes) -> None:
            if b'"type":"presence"' in payload:
                message = json.loads(payload)
                room = message["room"]
                roster = rosters.setdefault(room, Roster(room))
                self.beliefs.setdefault(room, Belief()).take(roster, message)

        listener.on_text = take
        listener.on_drain = self._told
        listener.on_end = self._ended
        if before is not None:
            before.leave()

    def _told(self, listener: Listener) -> None:
        assert listener.drain is not None
        if not self.gone:
            self._soon(self._move(listener, listener.drain.reconnect_in_ms / 1000))

    async def _move(self, listener: Listener, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if listener is self.listener and not self.gone:
            if not self._overlaps:
                self.listener = None
                listener.leave()
                await listener.ended
            await self.connect()

    def _ended(self, listener: Listener) -> None:
        if listener is self.listener and listener.drain is None and not self.gone:
            self._soon(self._come_back(random.uniform(0, MAX_PAUSE_SECONDS)))

    async def _come_back(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.connect()

    def _soon(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- of its own will -------------------------------------------------------------------

    async def reload(self) -> None:
        """Close with 1001 and be back 50 ms later, as a page does that is loaded anew."""
        await self._interrupt(lambda listener: listener.leave(1001))
        await self._come_back(0.05)

    async def lose(self) -> None:
        """Lose the connection, and be back after 5 s."""
        await self._interrupt(Listener.reset)
        await self._come_back(5.0)

    async def leave(self) -> None:
        """Close with 1000, for good; again elsewhere if the server did so first.

        Not within the window in which it has come: others would not be told that it was there.
        """
        while True:
            listener = self.listener
            await asyncio.sleep(2 * WINDOW_SECONDS)
            if listener is None or listener is not self.listener or not listener.is_open:
                continue
            if (await self._interrupt(Listener.leave)).close_code == 1000:
                break
            await self.connect()
        self.gone = True

    async def _interrupt(self, end: Callable[[Listener], None]) -> Listener:
        while self.listener is None or not self.listener.is_open:
            await asyncio.sleep(0.01)
        listener, self.listener = self.listener, None
        end(listener)
        await listener.ended
        return listener

    async def close(self) -> None:
        """Drop all connections."""
        self.gone = True
        for task in self._tasks:
            task.cancel()
        for listener in self._old:
            listener.abort()
        await asyncio.gather(*(listener.ended for listener in self._old))
