"""Who is let in, and the moment in which a client's socket becomes a session.

May live here: the order of the checks, what is waited for, the answer 101. Must not know Sanic, nor
how a refusal is put into HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .errors import TryAgainLater, UpgradeRefused
from .handshake import Handshake, Wishes, accept_of, read_wishes
from .logs import RateLimitedWarning
from .message import json_text
from .origin import OriginPolicy
from .pod import Pod
from .session import Session

if TYPE_CHECKING:
    from .auth import Authenticator

TakeSocket = Callable[[], tuple[asyncio.Transport, bytes] | None]
"""Gives a client's socket, and what it sent right behind its handshake; None if it is gone."""


class Visitor(NamedTuple):
    """A client whose handshake is in order."""

    client_id: str
    wishes: Wishes
    accept: str
    """The Sec-WebSocket-Accept that it is to get."""


class Entrance:
    """The way into a pod. `authenticator` is None if everybody may come."""

    def __init__(
        self,
        pod: Pod,
        *,
        origins: OriginPolicy,
        authenticator: Authenticator | None,
        retry_after: int,
    ) -> None:
        self._pod = pod
        self._origins = origins
        self._authenticator = authenticator
        self._retry_after = retry_after
        self._full = RateLimitedWarning()
        self._foreign_page = RateLimitedWarning()

    def examine(self, handshake: Handshake) -> Visitor:
        """Check a handshake, with no other effect. Raises UpgradeRefused with the first objection.

        It stands until the end of the loop turn; `admit` looks again at what may change.
        """
        self._refuse_while_draining()
        if not self._origins.admits(
            handshake.lines("origin"), handshake.lines("host"), secure=handshake.secure
        ):
            raise UpgradeRefused(
                403, "forbidden_origin", "Pages of this origin may not connect here"
            )
        self._pod.admission.check()
        return Visitor(
            client_id=self._client_id(handshake),
            wishes=read_wishes(handshake),
            accept=accept_of(handshake),
        )

    def refused(self, refusal: UpgradeRefused, handshake: Handshake) -> None:
        """Count a refusal, and log what an operator may want to change; call once for each."""
        self._pod.refused[refusal.code] += 1
        if refusal.code == "too_many_connections":
            self._full.log(
                "Refused a client: there are %d, the most that CHAT_MAX_CONNECTIONS allows",
                self._pod.admission.limit,
            )
        elif refusal.code == "forbidden_origin":
            self._foreign_page.log(
                "Refused a page of origin %.200r, connecting to host %.200r: CHAT_ALLOWED_ORIGINS "
                "says which may",
                ", ".join(handshake.lines("origin")),
                ", ".join(handshake.lines("host")),
            )

    def is_ready_for(self, visitor: Visitor) -> bool:
        """Whether there is nothing that a visitor would have to wait for."""
        wishes = visitor.wishes
        return self._pod.rooms.are_confirmed(wishes.room, presence=wishes.presence)

    def let_in(
        self,
        visitor: Visitor,
        transport: asyncio.Transport,
        early: bytes,
        *,
        confirmed: bool = True,
    ) -> None:
        """Make a visitor a session of the pod; `early` is what it sent behind its handshake.

        Call it in the loop turn of `examine` and only if the pod `is_ready_for` the visitor, or
        leave it to `admit`.
        """
        wishes = visitor.wishes
        session = Session(
            self._pod,
            sender=json_text(visitor.client_id),
            echo=wishes.echo,
            system_events=wishes.system_events,
            presence=wishes.presence,
        )
        switch_protocols(
            transport,
            session,
            visitor.accept,
            early,
            on_open=lambda: self._pod.open(session, wishes.room, confirmed=confirmed),
        )

    async def admit(self, visitor: Visitor, take_socket: TakeSocket) -> None:
        """Let a visitor in once its room is subscribed, unless it has gone by then.

        Raises UpgradeRefused if there is no place for it any more. May be cancelled.
        """
        wishes = visitor.wishes
        rooms = self._pod.rooms
        is_in = False
        with self._pod.admission:
            try:
                confirmed = await rooms.prepare(wishes.room, presence=wishes.presence)
                self._refuse_while_draining()  # it may have begun in between
                socket = take_socket()
                if socket is not None:
                    self.let_in(visitor, *socket, confirmed=confirmed)
                    is_in = True
            finally:
                if not is_in:
                    rooms.forget(wishes.room, presence=wishes.presence)

    def _refuse_while_draining(self) -> None:
        if self._pod.draining:
            raise TryAgainLater(
                "draining",
                "The server is going away: please try again",
                retry_after=self._retry_after,
            )

    def _client_id(self, handshake: Handshake) -> str:
        if self._authenticator is None:
            return self._pod.new_client_id()
        authorization, tokens = handshake.lines("authorization"), handshake.query.get("token")
        return self._authenticator.client_id(
            authorization=authorization[0] if authorization else None,
            token=tokens[0] if tokens else None,
        )


def switch_protocols(
    transport: asyncio.Transport,
    session: Session,
    accept: str,
    early: bytes,
    *,
    on_open: Callable[[], None],
) -> None:
    """Answer 101 (RFC 9110 section 15.2.2) and make `session` the protocol of a socket.

    `on_open` is called when the session can send, and before it is given `early`, what the client
    sent right behind its handshake.
    """
    transport.set_protocol(session)
    session.connection_made(transport)
    transport.write(
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept.encode()
    )
    on_open()
    if early:
        session.data_received(early)
    if not (transport.is_closing() or transport.is_reading()):
        transport.resume_reading()  # it is paused when much comes early
