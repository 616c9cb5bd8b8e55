"""Connections to Redis on which a few questions are asked, as the server's own user.

    open ─→ AUTH, HELLO ─→ ask (one caller after the other) ─→ close

May live here: how a question gets to Redis, and what becomes of one that is not answered. Must not
know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import hiredis

from ..broker.client import Command
from ..broker.connection import Connection, Reply, pack
from ..broker.endpoint import Endpoint
from ..broker.refusals import is_needed, is_withheld
from ..broker.role import HELLO, ROLE, why_wrong
from .findings import Unanswerable

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 3.0
NAME = "sanic_chat:doctor"


class RedisProbe:
    """A connection to Redis, which is closed at the end of `async with`.

    `open` raises OSError if there is none, with the reason.
    `ask` raises Unanswerable if the connection is not there, or is lost.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.hello: dict[str, str] = {}
        """The answer to HELLO, if Redis knows it: `server`, `version`, `mode`, `role`."""
        self.wrong = ""
        """The reason why pods do not use this server: it is a replica or a Sentinel."""
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, authenticate and say hello. Raises OSError."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._open()
        except TimeoutError as error:
            await self.close()
            text = str(error) or f"no answer within {CONNECT_SECONDS:g} s"
            raise ConnectionError(self._why(error, text)) from None
        except OSError as error:
            await self.close()
            text = self.endpoint.without_secrets(str(error))
            raise ConnectionError(self._why(error, text)) from None

    def _why(self, error: OSError, text: str) -> str:
        doubt = self.endpoint.doubt(error)
        return f"{text} ({doubt})" if doubt else text

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        addresses = await self.endpoint.addresses()
        self._connection = await self.endpoint.open(loop, lambda: Connection(loop), addresses)
        commands: list[Command] = [*self.endpoint.introduction(NAME), HELLO]
        replies = await self._exchange(commands)
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, hiredis.ReplyError) and is_needed(text_of(command[0]), str(reply)):
                raise ConnectionError(self.endpoint.without_secrets(str(reply)))
        hello = role = replies[-1]
        if isinstance(hello, hiredis.ReplyError):
            [role] = await self._exchange([ROLE])
        self.wrong = why_wrong(role)
        if isinstance(hello, list):
            self.hello = {
                text_of(name): text_of(value)
                for name, value in zip(hello[::2], hello[1::2], strict=False)
            }

    async def close(self) -> None:
        """End the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            await asyncio.wait([connection.lost])

    async def ask(self, *commands: Command) -> list[Reply]:
        """Send commands; return the answer to each, which may be a hiredis.ReplyError.

        Raises Unanswerable if Redis is away or does not answer in time.
        """
        async with self._turn:
            if self._connection is None:
                raise Unanswerable("Redis cannot be asked: there is no connection")
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._exchange(commands)
            except OSError as error:
                await self.close()
                reason = str(error) or f"no answer within {ANSWER_SECONDS:g} s"
                raise Unanswerable(f"Redis went away: {reason}") from None
            except asyncio.CancelledError:
                # What comes now would be taken for the answer to the next question.
                await self.close()
                raise

    async def value(self, *command: str | bytes) -> Reply:
        """The answer to one command. Raises Unanswerable, with Redis' reason, if it refuses."""
        [reply] = await self.ask(command)
        if isinstance(reply, hiredis.ReplyError):
            name = " ".join(text_of(word) for word in command[:2])
            hint = "; an administrator's REDIS_URL would tell" if is_withheld(str(reply)) else ""
            raise Unanswerable(f"Redis refuses {name}: {reply!s:.100}{hint}")
        return reply

    async def config(self, name: str) -> str:
        """A parameter of Redis' own configuration. Raises Unanswerable."""
        found = await self.value("CONFIG", "GET", name)
        if not isinstance(found, list) or len(found) != 2:
            raise Unanswerable(f"Redis has no parameter {name}")
        return text_of(found[1])

    async def info(self, section: str) -> dict[str, str]:
        """A section of INFO. Raises Unanswerable."""
        lines = text_of(await self.value("INFO", section)).splitlines()
        pairs = (line.partition(":") for line in lines if ":" in line)
        return {name: value for name, _, value in pairs}

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and wait for as many answers; what was published meanwhile is none."""
        connection = self._connection
        assert connection is not None
        connection.write(b"".join(map(pack, commands)))
        replies: list[Reply] = []
        while len(replies) < len(commands):
            [reply] = await connection.take(1)
            if not (isinstance(reply, list) and reply[:1] == [b"message"]):
                replies.append(reply)
        return replies


def text_of(value: object) -> str:
    """A reply as text, whatever it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
