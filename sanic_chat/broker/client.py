"""The client: commands to Redis whose answers are waited for, over a link of their own.

    ask(commands) ─→ one write ─→ Redis ─→ (all answers are there, or time is over) ─→ the caller

May live here: which answers belong to which question, and for how long they are waited for. Must
not know what the commands mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import hiredis

from .connection import Call, Reply, pack
from .endpoint import Endpoint
from .link import Link

Command = tuple[str | bytes, ...]


class Client:
    """Asks Redis, and waits at most `patience` seconds for the answers.

    While an answer is overdue nothing else is asked, and `ask` raises at once. `timeout` is the
    link's, which is built anew if no answer comes at all.
    """

    def __init__(self, endpoint: Endpoint, *, name: str, timeout: float, patience: float) -> None:
        self.link = Link(endpoint, name=name, handler=self, timeout=timeout)
        self._patience = patience
        self._waiting: set[asyncio.Future[None]] = set()
        self._overdue: set[asyncio.Future[None]] = set()

    def start(self, on_up: Callable[[], None]) -> None:
        """Begin to connect; `on_up` is called for each connection that is ready."""
        self._on_up = on_up
        self.link.start()

    async def has_tried(self) -> None:
        """Return once the first attempt to connect has ended, or `patience` seconds have passed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.link.tried.wait(), self._patience)

    async def close(self) -> None:
        """End the connection. A caller that still waits gets a ConnectionResetError."""
        await self.link.close()

    async def ask(self, *commands: Command) -> list[Reply]:
        """Send commands; return the answer to each, which may be a hiredis.ReplyError.

        Raises ConnectionError if Redis is away, or goes away meanwhile. Raises TimeoutError if it
        does not answer in time, or owes earlier answers.
        """
        if self._overdue:
            raise TimeoutError("Redis has not answered yet what it was asked before")
        if not self.link.writable:
            raise ConnectionError(f"not connected to Redis: {self.link.last_error}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        replies: list[Reply] = []

        def answered(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) == len(commands):
                self._overdue.discard(done)
                if not done.done():
                    done.set_result(None)

        self.link.expected.extend([Call(answered)] * len(commands))
        self.link.send(b"".join(map(pack, commands)))
        self._waiting.add(done)
        try:
            await asyncio.wait([done], timeout=self._patience)
        finally:
            self._waiting.discard(done)
        if not done.done():
            self._overdue.add(done)
            raise TimeoutError(f"Redis did not answer within {self._patience:g} s")
        if len(replies) < len(commands):
            raise ConnectionResetError("the connection to Redis was lost")
        if not any(isinstance(reply, hiredis.ReplyError) for reply in replies):
            self.link.prove()
        return replies

    # -- what the link tells ---------------------------------------------------------------

    def link_up(self) -> None:
        self._on_up()

    def link_down(self, good_until: float) -> None:
        self._overdue.clear()
        for done in self._waiting:
            if not done.done():
                done.set_result(None)

    def link_writable(self) -> None:
        """Do nothing: `ask` raises while the link is not writable, and waits for nothing."""

    def link_unwritable(self) -> None:
        """Do nothing; see `link_writable`."""

    def replies_received(self, replies: list[Reply]) -> None:
        expected = self.link.expected
        for reply in replies:
            if not expected:
                self.link.rebuild(f"it said what it was not asked: {reply!r:.100}")
                return
            expected.popleft().answered(reply)
