"""The upgrader: it makes the socket of a client whose handshake was checked a session.

    UpgradeRequest ─┬→ (is_subscribed) ─→ accept ─→ switch_protocols: 101, the session
                    └→ accept_when_subscribed ─→ (Redis has confirmed) ─┘
    UpgradeRefused ─→ tell_why: over a WebSocket, or else HTTP answers

May live here: the wait for Redis, the answer 101. Must not know Sanic, what is checked, nor how a
refusal is put into HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from ..errors import SubscribeRefused, UpgradeRefused
from ..logs.logger import RateLimitedWarning
from ..pod.bad_ends import DISCONNECTED
from ..pod.client_log import AddressedSession, ClientLog, LoggedSession
from ..pod.pod import Pod
from ..protocol import events
from ..session.session import Session
from ..websocket.frames import CloseCode
from ..websocket.handshake import Handshake, switching_protocols
from .checker import UpgradeRequest
from .connection_limit import ConnectionLimit
from .refused_clients import RefusedClients, acceptance

TakeSocket = Callable[[], tuple[asyncio.Transport, bytes] | None]
"""Returns a client's socket, and the bytes right behind its handshake; None if it is gone."""


class Upgrader:
    """Makes sessions of one pod out of handshakes that were checked.

    Without a `client_log` no client is logged.
    """

    def __init__(
        self,
        pod: Pod,
        connection_limit: ConnectionLimit,
        refused_clients: RefusedClients,
        *,
        client_log: ClientLog | None,
    ) -> None:
        self._pod = pod
        self._connection_limit = connection_limit
        self._refused_clients = refused_clients
        self._client_log = client_log
        self._make_session: Callable[..., Session] = partial(Session, pod)
        if client_log is not None:
            self._make_session = client_log.session
        elif pod.addresses.trusts_proxies:
            self._make_session = partial(AddressedSession, pod)
        self._failure = RateLimitedWarning()

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

        Only in the loop turn of its check, and only if `is_subscribed`. Otherwise call
        `accept_when_subscribed`. A user who has as many sessions as are allowed is told so, with
        1008, and gets none.
        """
        user = request.user
        if not self._pod.users.has_place(user):
            count = len(self._pod.users.of(user))
            sentence = f"You have {count} sessions here, and may have no more"
            code = CloseCode.POLICY_VIOLATION
            self._turn_away(request, transport, early, "too_many_sessions", sentence, code)
            return
        self._connection_limit.discard(transport)
        session = self._new_session(request, transport)
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
                self._pod.admission.refuse_while_draining()  # it may have begun in between
                if request.identity is not None:
                    self._pod.cluster.revocations.check(request.identity)
                socket = take_socket()
                if socket is not None:
                    kick = self._pod.cluster.removals.kick_of(request.user, request.began)
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
        pod.bad_ends.note(kind, sentence, user=request.user, address=address)
        self._refused_clients.tell(
            transport,
            early,
            events.Error(refusal, sentence, None),
            request.accept,
            code,
            subprotocol=request.subprotocol,
        )

    def _new_session(self, request: UpgradeRequest, transport: asyncio.Transport) -> Session:
        options = request.options
        session = self._make_session(
            client_id=request.client_id,
            identity=request.identity,
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
