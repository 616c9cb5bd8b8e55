"""Refused clients that are told why over a WebSocket, since a browser hides the answer in HTTP.

Whoever has too many sessions is told so, too, and whoever was disconnected while it was shaking
hands: as a session it would keep its place for as long as it does not answer the close frame.

    refusal, handshake ─→ acceptance ─┬→ None: HTTP answers
                                      └→ tell: 101, the error, a close frame ─→ its own: closed
                                                                            └─→ 1.5 s later: aborted

They are no sessions. Each counts as a handshake that is under way, and as a connection that is
still HTTP, until its socket is gone; it has no task and no timer of its own. What it sends is read
up to its close frame, which ends the connection in order, and never kept. Whoever sends more than
a browser could mean is no longer read.

May live here: who is told, what, and for how long. Must not know why a handshake is refused, nor
how HTTP says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import UpgradeRefused
from ..pod.admission import Admission
from ..pod.notifier import Notifier
from ..protocol import events
from ..websocket.frames import CloseCode, close_frame
from ..websocket.handshake import SUBPROTOCOL, Handshake, accept_key_for, switching_protocols
from ..websocket.parser import FrameLimits, FrameParser
from .connection_limit import ConnectionLimit
from .deadlines import HttpConnection, Phase

TICK_SECONDS = 0.25
PATIENCE_TICKS = 7
"""The ticks after which a client is cut off: it has had 1.5 s at least, and 1.75 s at most."""

MAX_READ_BYTES = 64 * 1024
"""The bytes that are read of one client, and the frames in one read; then it is left unread."""
MAX_READ_FRAMES = 64

_CODES: Final = {400: CloseCode.BAD_REQUEST, 401: CloseCode.UNAUTHORIZED}
_UNREAD: Final = FrameLimits(max_message_bytes=0, max_message_fragments=0)


def acceptance(refusal: UpgradeRefused, handshake: Handshake) -> tuple[str, CloseCode] | None:
    """Return the Sec-WebSocket-Accept and the close code with which a refused client is told.

    None if HTTP is to answer it: it does not offer `SUBPROTOCOL`, its handshake is broken, or it is
    refused for now (503, on which a balancer asks another server), or as a foreign page.
    """
    code = _CODES.get(refusal.status)
    if refusal.code == "forbidden_room":
        code = CloseCode.FORBIDDEN
    if code is None or SUBPROTOCOL not in handshake.elements("sec-websocket-protocol"):
        return None
    try:
        return accept_key_for(handshake), code
    except UpgradeRefused:
        return None


class RefusedClients:
    """Tells refused clients why, and lets go of them within two seconds.

    `connections()` are those that are still HTTP, which end with the worker. `are_few(number)`
    tells whether file descriptors are few, if that is the number of the newest.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        admission: Admission,
        connection_limit: ConnectionLimit,
        connections: Callable[[], set[HttpConnection]],
        notifier: Notifier,
        are_few: Callable[[int], bool],
    ) -> None:
        self._loop = loop
        self._admission = admission
        self._connection_limit = connection_limit
        self._connections = connections
        self._notifier = notifier
        self._are_few = are_few
        self.are_told: dict[_RefusedClient, None] = {}
        """Those that are being told now, the first of them first."""
        self._ticks = 0
        self._is_ticking = False

    def tell(
        self,
        transport: asyncio.Transport,
        early: bytes,
        error: events.Error,
        accept: str,
        code: int,
        *,
        subprotocol: str | None = SUBPROTOCOL,
    ) -> None:
        """Answer a handshake with 101, an error, and a close frame with `code` and its sentence.

        `early` are the bytes behind the handshake. The transport is ours from now on.
        """
        client = _RefusedClient(self, transport, due=self._ticks + PATIENCE_TICKS)
        self.are_told[client] = None
        self._admission.take_place()
        self._connections().add(client)
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_later(TICK_SECONDS, self._tick)
        transport.set_protocol(client)
        transport.write(
            switching_protocols(accept, subprotocol)
            + self._notifier.frame(error)
            + close_frame(code, error.message)
        )
        if not (transport.is_reading() or transport.is_closing()):
            transport.resume_reading()
        client.data_received(early)

    def make_room(self, descriptor: int) -> None:
        """Let go of the client that was told first, if a new one may need its place.

        `descriptor` is the number of the new one's own. So they keep nobody out, however many there
        are: of file descriptors they lose theirs before there are none for others.
        """
        if self.are_told and (self._admission.is_full or self._are_few(descriptor)):
            self._let_go_of_oldest()

    def discard(self, client: _RefusedClient) -> None:
        """Count a client no more: its socket is gone, or about to."""
        if client in self.are_told:
            del self.are_told[client]
            self._admission.give_back_place()
            self._connections().discard(client)
            self._connection_limit.discard(client.transport)

    def _let_go_of_oldest(self) -> None:
        next(iter(self.are_told)).evict()

    def _tick(self) -> None:
        self._ticks += 1
        while self.are_told and next(iter(self.are_told)).due <= self._ticks:
            self._let_go_of_oldest()
        self._is_ticking = bool(self.are_told)
        if self._is_ticking:
            self._loop.call_later(TICK_SECONDS, self._tick)


class _RefusedClient(asyncio.Protocol):
    """One of them: to the parts of a worker a connection that is still HTTP, and being answered."""

    __slots__ = ("_clients", "_parser", "_unread", "due", "transport")

    def __init__(self, clients: RefusedClients, transport: asyncio.Transport, *, due: int) -> None:
        self.transport = transport
        self.due = due
        """The tick at which it is cut off."""
        self._clients = clients
        self._unread = MAX_READ_BYTES
        self._parser: FrameParser | None = FrameParser(_UNREAD)
        self._parser.follow()

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            return
        self._unread -= len(data)
        parser.receive(data, MAX_READ_FRAMES)
        if parser.finished:
            self.transport.close()
        elif parser.has_rest or self._unread < 0:
            self._parser = None  # and the bytes that it holds
            if not self.transport.is_closing():
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)

    def look(self, limits: Mapping[Phase, int]) -> None:
        """Do nothing: it is cut off sooner than by any of those limits."""

    def close_if_idle(self) -> bool:
        """Return False: it is being answered."""
        return False

    def evict(self) -> bool:
        """Cut it off; return True."""
        self._clients.discard(self)
        self.transport.abort()
        return True

    def abort(self) -> None:
        """Cut it off."""
        self.evict()
