"""What a client that watches a room believes: the roster, and all that changed since."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection

from .harness import DEADLINE


class Roster:
    """Keeps who is in one room as docs/presence.md says a client does.

    Raises AssertionError for a number out of turn, and for a user that comes or goes twice.
    """

    def __init__(self, room: str | None = None) -> None:
        self.room = room
        """The room whose events count; None: each."""
        self.infos: dict[str, Any] = {}
        """The users, each with its info."""
        self.number = 0
        """The number of users, also where they are not named."""
        self.sessions = 0
        self.complete = False
        self.events: list[dict[str, Any]] = []
        self.joined: list[str] = []
        self.left: list[tuple[str, str]] = []
        self._seq: int | None = None

    @property
    def users(self) -> set[str]:
        return set(self.infos)

    @property
    def is_known(self) -> bool:
        """Whether it was told at all."""
        return self._seq is not None

    def take(self, message: dict[str, Any]) -> None:
        """Take a message; those of other types say nothing here."""
        if message["type"] != "presence" or message["from"] != "server":
            return
        if self.room not in (None, message["room"]):
            return
        event = message["data"]
        self.events.append(event)
        self.number, self.sessions = event["users"], event["sessions"]
        if event["event"] == "roster":
            self.complete = event["complete"]
            self.infos = {each["user"]: each.get("info") for each in event["members"] or ()}
            self._seq = event["seq"]
            return
        assert self._seq is not None, "a change before the first roster"
        assert event["seq"] == self._seq + 1, f"{event['seq']} behind {self._seq}"
        self._seq = event["seq"]
        for each in event["joined"] or ():
            assert each["user"] not in self.infos, f"{each} joined twice"
            self.infos[each["user"]] = each.get("info")
            self.joined.append(each["user"])
        for each in event["updated"] or ():
            assert each["user"] in self.infos, f"{each} is updated, and not there"
            self.infos[each["user"]] = each.get("info")
        for each in event["left"] or ():
            assert each["user"] in self.infos, f"{each} left, and was not there"
            del self.infos[each["user"]]
            self.left.append((each["user"], each["reason"]))


class Watcher(Roster):
    """The roster of a client of the `websockets` package, which reads on while it waits."""

    def __init__(self, client: ClientConnection, room: str | None = None) -> None:
        super().__init__(room)
        self.client = client

    async def until(self, holds: Callable[[Watcher], bool], seconds: float = DEADLINE) -> None:
        """Take what comes until this holds. Raises AssertionError if it does not in time."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_known or not holds(self):
                    self.take(json.loads(await self.client.recv()))
        except TimeoutError:
            raise AssertionError(
                f"{self.users}, {self.sessions} sessions, complete: {self.complete}; {self.events}"
            ) from None

    async def listen(self, seconds: float) -> None:
        """Take what comes for so long."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.take(json.loads(await self.client.recv()))
        except TimeoutError:
            pass
