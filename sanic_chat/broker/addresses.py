"""From a host's name to a connection: every address of the name is tried.

    name ─→ look_up (in a thread, 5 s) ─→ addresses ─→ connect, one each 0.25 s ─→ the first

May live here: names, addresses, and the order in which they are tried. Must not know what is spoken
on a connection.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import TypeVar

LOOK_UP_SECONDS = 5.0
"""The wait for a name server before the caller is told; a later answer serves the next caller."""

NEXT_ADDRESS_SECONDS = 0.25
"""The wait for an address before the next one is tried beside it (RFC 8305 section 5)."""

Address = tuple[str, int]
Opened = tuple[asyncio.BaseTransport, asyncio.BaseProtocol]
T = TypeVar("T", bound=Opened)

LookUp = Callable[[str, int], list[Address]]
"""Returns a host's addresses, the best first. Blocks; raises OSError."""


def look_up(host: str, port: int) -> list[Address]:
    """Return the system's addresses of a name, both families by turns (RFC 8305 section 4).

    Blocks. Raises OSError, or UnicodeError for a text that is no name.
    """
    families: dict[int, list[Address]] = {}
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        families.setdefault(family, []).append((str(address[0]), int(address[1])))
    turns = chain.from_iterable(zip_longest(*families.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


class Name:
    """A host and a port, looked up anew for each caller.

    Callers at the same time share one look-up. So name servers that do not answer take one thread,
    and no process waits for it to end.
    """

    def __init__(self, host: str, port: int, look_up: LookUp = look_up) -> None:
        self._host = host
        self._port = port
        self._look_up = look_up
        self._pending: asyncio.Future[list[Address]] | None = None

    async def addresses(self) -> list[Address]:
        """Look up all addresses.

        Raises OSError, or TimeoutError after 5 s, with the name in the text. Cancelling it leaves
        the look-up to the other callers.
        """
        pending = self._pending
        if pending is None:
            pending = self._pending = self._begin(asyncio.get_running_loop())
        await asyncio.wait([pending], timeout=LOOK_UP_SECONDS)
        if not pending.done():
            raise TimeoutError(
                f"the name {self._host!r} was not looked up within {LOOK_UP_SECONDS:g} s"
            )
        if self._pending is pending:
            self._pending = None
        try:
            return pending.result()
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"the name {self._host!r} cannot be looked up: {reason}") from None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[list[Address]]:
        pending: asyncio.Future[list[Address]] = loop.create_future()

        def ask() -> None:
            try:
                addresses = self._look_up(self._host, self._port)
            except Exception as error:
                # A name that is none at all (IDNA) is a UnicodeError.
                failure = error if isinstance(error, OSError) else OSError(str(error))
                call, result = pending.set_exception, failure
            else:
                call, result = pending.set_result, addresses  # type: ignore[assignment]
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(call, result)

        pending.add_done_callback(lambda done: done.exception())  # it may interest nobody any more
        threading.Thread(target=ask, name=f"look up {self._host}", daemon=True).start()
        return pending


async def connect(
    addresses: Sequence[Address], open: Callable[[str, int], Awaitable[T]], *, turn: int = 0
) -> T:
    """Return the result of `open(host, port)` for the address that answers first.

    The addresses are tried in their order, round from the one numbered `turn`. One that does not
    answer within 0.25 s is waited for beside the next. Raises OSError with the error of each if
    none answers. Other connections are closed, after a cancellation too.
    """
    start = turn % len(addresses)
    waiting = [*addresses[start:], *addresses[:start]]
    attempts: dict[asyncio.Future[T], Address] = {}
    errors: list[str] = []
    try:
        while waiting or attempts:
            if waiting:
                address = waiting.pop(0)
                attempts[asyncio.ensure_future(open(*address))] = address
            done, _ = await asyncio.wait(
                attempts,
                timeout=NEXT_ADDRESS_SECONDS if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                address = attempts.pop(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(_reason(error) if len(addresses) == 1 else _told(address, error))
        raise OSError("; ".join(errors))
    finally:
        await _discard(attempts)


async def _discard(
    attempts: Sequence[asyncio.Future[T]] | dict[asyncio.Future[T], Address],
) -> None:
    for attempt in attempts:
        attempt.cancel()
    if attempts:
        await asyncio.wait(attempts)
    for attempt in attempts:
        if not attempt.cancelled() and attempt.exception() is None:
            attempt.result()[0].abort()  # type: ignore[attr-defined]


def _told(address: Address, error: OSError) -> str:
    host, port = address
    return f"{f'[{host}]' if ':' in host else host}:{port}: {_reason(error)}"


def _reason(error: OSError) -> str:
    return str(error) or type(error).__name__
