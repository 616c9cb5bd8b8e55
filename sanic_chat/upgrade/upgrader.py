"""The upgrader: it checks a handshake, and makes the client's socket a session.

    check ─→ UpgradeRequest ─┬→ (is_subscribed) ─→ accept ─→ switch_protocols: 101, the session
                             └→ accept_when_subscribed ─→ (Redis has confirmed) ─┘
          └→ UpgradeRefused ─→ count_refusal ─→ tell_why: over a WebSocket, or else HTTP answers

May live here: the order of the checks, the wait for Redis, the answer 101. Must not know Sanic, nor
how a refusal is put into HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..errors import SubscribeRefused, TryAgainLater, UpgradeRefused
from ..logs.logger import RateLimitedWarning, logger
from ..pod.bad_ends import DISCONNECTED, TOKEN
from ..pod.client_log import AddressedSession, ClientLog, LoggedSession
from ..pod.pod import Pod
from ..pod.rooms import Wanted
from ..protocol import events
from ..protocol.frames import CloseCode
from ..protocol.handshake import (
    Handshake,
    accept_key_for,
    subprotocol_of,
    switching_protocols,
)
from ..protocol.identity import Identity
from ..protocol.message import json_text
from ..protocol.origin import OriginPolicy
from ..protocol.personal_room import resolve
from ..session.session import Session
from .connection_limit import ConnectionLimit
from .credentials import find_token
from .options import Query, SessionOptions, parse_options, read_query
from .refused_clients import RefusedClients, acceptance

if TYPE_CHECKING:
    from .auth import Authenticator

TakeSocket = Callable[[], tuple[asyncio.Transport, bytes] | None]
"""Returns a client's socket, and the bytes right behind its handshake; None if it is gone."""


_FOREIGN = "Pages of this origin may not connect here"
_FOREIGN_HOST = f"{_FOREIGN}: it is not that of the Host header, unless a proxy has changed Host"
_WHICH = "CHAT_ALLOWED_ORIGINS says which may"
_WHICH_HOST = (
    "they differ, unless a proxy has changed Host (it has to pass it on; nginx: proxy_set_header "
    "Host $http_host); CHAT_ALLOWED_ORIGINS names pages that may"
)


class UpgradeRequest(msgspec.Struct, frozen=True):
    """A handshake that was checked, with all that its session needs."""

    client_id: str
    identity: Identity | None
    """The client as its token says; None: none is asked for."""
    default_room: str | None
    """The room of its messages that name none."""
    rooms: tuple[Wanted, ...]
    """The rooms that it will be in."""
    options: SessionOptions
    accept: str
    """The Sec-WebSocket-Accept of the answer."""
    subprotocol: str | None
    """The Sec-WebSocket-Protocol of the answer, if any."""
    forwarded_for: Sequence[str]
    """The lines of its X-Forwarded-For."""
    began: float
    """The moment (`time.monotonic()`) in which it was read."""


class Upgrader:
    """Accepts handshakes for one pod, or refuses them.

    Without an `authenticator` every client is accepted, as a user of its own; `auth_cookie` names
    the cookie that may hold a token. Of the subprotocols that a client offers ours is selected, or
    the first of `subprotocols`. Path, query and token together may name `rooms_per_session` rooms.
    Without a `client_log` no client is logged.
    """

    def __init__(
        self,
        pod: Pod,
        connection_limit: ConnectionLimit,
        refused_clients: RefusedClients,
        *,
        origins: OriginPolicy,
        authenticator: Authenticator | None,
        auth_cookie: str | None,
        subprotocols: Sequence[str],
        rooms_per_session: int,
        retry_after: int,
        client_log: ClientLog | None,
    ) -> None:
        self._pod = pod
        self._connection_limit = connection_limit
        self._refused_clients = refused_clients
        self._origins = origins
        self._authenticator = authenticator
        self._auth_cookie = auth_cookie
        self._subprotocols = subprotocols
        self._rooms_per_session = rooms_per_session
        self._retry_after = retry_after
        self._client_log = client_log
        self._make_session: Callable[..., Session] = partial(Session, pod)
        if client_log is not None:
            self._make_session = client_log.session
        elif pod.addresses.trusts_proxies:
            self._make_session = partial(AddressedSession, pod)
        self._full = RateLimitedWarning()
        self._foreign_page = RateLimitedWarning()
        self._failure = RateLimitedWarning()

    def check(
        self, handshake: Handshake, transport: asyncio.BaseTransport | None
    ) -> UpgradeRequest:
        """Check a handshake. Raises UpgradeRefused for the first objection.

        The transport is its client's; None: it is gone. A client that is being told of its refusal
        may lose its place to this one. The result holds until the end of the loop turn.
        `accept_when_subscribed` checks again what may change.
        """
        began = time.monotonic()
        headers = handshake.headers
        self._refuse_while_draining()
        if "origin" in headers and not self._origins.admits(
            handshake.lines("origin"), handshake.lines("host"), secure=handshake.secure
        ):
            raise UpgradeRefused(
                403, "forbidden_origin", _FOREIGN_HOST if self._origins.compares_hosts else _FOREIGN
            )
        descriptor = _descriptor_of(transport)
        if self._refused_clients.are_told:
            self._refused_clients.make_room(descriptor)
        self._pod.admission.check(descriptor)
        query = read_query(handshake) if handshake.query else {}
        authenticator = self._authenticator
        identity = (
            None if authenticator is None else self._identify(authenticator, handshake, query)
        )
        options = parse_options(handshake, query)
        client_id = self._pod.new_client_id()
        user = client_id if identity is None else identity.user
        default_room = None if options.room is None else resolve(options.room, user)
        return UpgradeRequest(
            client_id=client_id,
            identity=identity,
            default_room=default_room,
            rooms=self._rooms(default_room, user, identity, presence=options.presence),
            options=options,
            accept=accept_key_for(handshake),
            subprotocol=(
                subprotocol_of(handshake, self._subprotocols)
                if "sec-websocket-protocol" in headers
                else None
            ),
            forwarded_for=headers.get("x-forwarded-for", ()),
            began=began,
        )

    def count_refusal(
        self, refusal: UpgradeRefused, handshake: Handshake, peername: object
    ) -> None:
        """Count a refusal, and log it if an operator may want to know; call it once for each."""
        pod = self._pod
        pod.refused[refusal.code] += 1
        logger.debug(
            "Refused a handshake from %s: %d %s, %s",
            peername,
            refusal.status,
            refusal.code,
            refusal.message,
        )
        if refusal.status == 401:
            address = pod.addresses.of(peername, handshake.lines("x-forwarded-for"))
            pod.bad_ends.note(TOKEN, refusal.message, user=None, address=address)
        if refusal.code == "too_many_connections":
            self._full.log(
                "Refused a client: there are %d, the most that CHAT_MAX_CONNECTIONS allows",
                self._pod.admission.limit,
            )
        elif refusal.code == "forbidden_origin":
            self._foreign_page.log(
                "Refused a page of origin %.200r, connecting to host %.200r: %s",
                ", ".join(handshake.lines("origin")),
                ", ".join(handshake.lines("host")),
                _WHICH_HOST if self._origins.compares_hosts else _WHICH,
            )

    def tell_why(
        self, refusal: UpgradeRefused, handshake: Handshake, take_socket: TakeSocket
    ) -> bool:
        """Answer a refused handshake over a WebSocket, if its client is to be told there.

        Returns False if it is not, or is gone: the socket is then as it was.
        """
        answer = acceptance(refusal, handshake)
        socket = None if answer is None else take_socket()
        if answer is None or socket is None:
            return False
        error = events.Error(refusal.code, refusal.message, None)
        self._refused_clients.tell(*socket, error, *answer)
        return True

    def failed(self, error: Exception) -> None:
        """Log that a handshake ended with an error of ours."""
        self._failure.log("A handshake failed: %.200r", error, error=error)

    def is_subscribed(self, request: UpgradeRequest) -> bool:
        """Whether Redis has confirmed the request's room, so that it need not wait."""
        return self._pod.rooms.are_subscribed(request.rooms)

    def accept(
        self,
        request: UpgradeRequest,
        transport: asyncio.Transport,
        early: bytes,
        *,
        confirmed: bool = True,
    ) -> None:
        """Make a session of a request; `early` are the bytes behind its handshake.

        Only in the loop turn of `check`, and only if `is_subscribed`. Otherwise call
        `accept_when_subscribed`. A user who has as many sessions as are allowed is told so, with
        1008, and gets none.
        """
        user = _user_of(request)
        if not self._pod.users.has_place(user):
            count = len(self._pod.users.of(user))
            sentence = f"You have {count} sessions here, and may have no more"
            code = CloseCode.POLICY_VIOLATION
            self._turn_away(request, transport, early, "too_many_sessions", sentence, code)
            return
        self._connection_limit.discard(transport)
        session = self._new_session(request, user, transport)
        switch_protocols(
            transport,
            session,
            request.accept,
            early,
            subprotocol=request.subprotocol,
            on_open=partial(self._open, session, request, confirmed=confirmed),
        )
        self._pod.admission.seconds.observe(time.monotonic() - request.began)

    async def accept_when_subscribed(
        self, request: UpgradeRequest, take_socket: TakeSocket
    ) -> None:
        """Accept a request once Redis has confirmed its room, unless the client is gone by then.

        Raises UpgradeRefused if there is no place for it any more, if Redis forbids the room, or if
        its token was revoked meanwhile. A user who was disconnected meanwhile gets no session. May
        be cancelled: the room is then released.
        """
        rooms = self._pod.rooms
        is_accepted = False
        with self._pod.admission:
            try:
                try:
                    confirmed = await rooms.subscribe(request.rooms)
                except SubscribeRefused:
                    raise UpgradeRefused(
                        403, "forbidden_room", "Redis does not let this server into the room"
                    ) from None
                self._refuse_while_draining()  # it may have begun in between
                if request.identity is not None:
                    self._pod.cluster.revocations.check(request.identity)
                socket = take_socket()
                if socket is not None:
                    kick = self._pod.cluster.removals.kick_of(_user_of(request), request.began)
                    if kick is None:
                        self.accept(request, *socket, confirmed=confirmed)
                    else:
                        transport, early = socket
                        self._turn_away(
                            request, transport, early, "disconnected", kick.reason, kick.code
                        )
                    is_accepted = True
            finally:
                if not is_accepted:
                    rooms.release(request.rooms)

    def _turn_away(
        self,
        request: UpgradeRequest,
        transport: asyncio.Transport,
        early: bytes,
        refusal: str,
        sentence: str,
        code: int,
    ) -> None:
        """Tell a client why it does not become a session, and soon cut it off.

        `refusal` is for programs, `code` that of the close frame.
        """
        pod = self._pod
        pod.rooms.release(request.rooms)
        pod.refused[refusal] += 1
        address = pod.addresses.of(transport.get_extra_info("peername"), request.forwarded_for)
        kind = DISCONNECTED if refusal == DISCONNECTED else str(int(code))
        pod.bad_ends.note(kind, sentence, user=_user_of(request), address=address)
        self._refused_clients.tell(
            transport,
            early,
            events.Error(refusal, sentence, None),
            request.accept,
            code,
            subprotocol=request.subprotocol,
        )

    def _new_session(
        self, request: UpgradeRequest, user: str, transport: asyncio.Transport
    ) -> Session:
        options = request.options
        session = self._make_session(
            client_id=request.client_id,
            identity=request.identity,
            sender=json_text(user),
            echo=options.echo,
            system_events=options.system_events,
            presence=options.presence,
        )
        if isinstance(session, AddressedSession):
            session.address = self._pod.addresses.of(
                transport.get_extra_info("peername"), request.forwarded_for
            )
        return session

    def _open(self, session: Session, request: UpgradeRequest, *, confirmed: bool) -> None:
        self._pod.open(session, request.rooms, default=request.default_room, confirmed=confirmed)
        if self._client_log is not None and isinstance(session, LoggedSession):
            self._client_log.opened(session)

    def _refuse_while_draining(self) -> None:
        if self._pod.draining:
            raise TryAgainLater(
                "draining",
                "The server is going away: please try again",
                retry_after=self._retry_after,
            )

    def _identify(
        self, authenticator: Authenticator, handshake: Handshake, query: Query
    ) -> Identity:
        token = find_token(handshake, query, cookie=self._auth_cookie)
        identity = authenticator.identify(token)
        self._pod.cluster.revocations.check(identity)
        return identity

    def _rooms(
        self, default: str | None, user: str, identity: Identity | None, *, presence: bool
    ) -> tuple[Wanted, ...]:
        """The rooms of path or query and of a token, each once.

        Raises UpgradeRefused: 400 if they are too many, and 403 if one is not allowed.
        """
        named = () if default is None else (default,)
        claimed = () if identity is None else identity.rooms
        if claimed:
            named = tuple(dict.fromkeys((*named, *(resolve(room, user) for room in claimed))))
        if len(named) > self._rooms_per_session:
            raise UpgradeRefused(
                400,
                "too_many_rooms",
                f"The token's join and the room of the URL are {len(named)} rooms, and "
                f"{self._rooms_per_session} are allowed",
            )
        may, wanted = self._pod.access.may, []
        for room in named:
            if not may("join", room, user=user, identity=identity):
                raise UpgradeRefused(
                    403, "forbidden_room", f"You are not allowed into room {room!r}"
                )
            sees = presence and may("presence", room, user=user, identity=identity)
            wanted.append(Wanted(room, sees))
        return tuple(wanted)


def _user_of(request: UpgradeRequest) -> str:
    return request.client_id if request.identity is None else request.identity.user


def _descriptor_of(transport: asyncio.BaseTransport | None) -> int:
    """The number of a client's file descriptor; 0 if it is gone."""
    socket = None if transport is None else transport.get_extra_info("socket")
    return 0 if socket is None else socket.fileno()


def switch_protocols(
    transport: asyncio.Transport,
    session: Session,
    accept: str,
    early: bytes,
    *,
    on_open: Callable[[], None],
    subprotocol: str | None = None,
) -> None:
    """Answer 101 and make `session` the protocol of a socket.

    `accept` and `subprotocol` are the values of the answer's headers. `on_open` is called when the
    session can send, before it reads `early`, the bytes right behind the handshake. An error of
    `on_open` ends the session.
    """
    transport.set_protocol(session)
    session.connection_made(transport)
    transport.write(switching_protocols(accept, subprotocol))
    try:
        on_open()
    except Exception as error:
        session.fail(error)
    session.begin(early)
