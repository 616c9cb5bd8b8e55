"""The checker: whether a handshake may become a session, and what that needs.

    handshake ─┬→ UpgradeRequest, for `upgrader`
               └→ UpgradeRefused ─→ count_refusal

May live here: the order of the checks, and what an operator is told of who is refused. Must not
know Sanic, how a refusal is answered, nor how a session is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..errors import UpgradeRefused
from ..logs.logger import RateLimitedWarning, logger
from ..pod.bad_ends import TOKEN
from ..pod.pod import Pod
from ..pod.rooms import Wanted
from ..protocol.identity import Identity
from ..protocol.personal_room import resolve
from ..websocket.handshake import Handshake, accept_key_for, subprotocol_of
from ..websocket.origin import OriginPolicy
from .credentials import find_token
from .options import Query, SessionOptions, parse_options, read_query
from .refused_clients import RefusedClients

if TYPE_CHECKING:
    from ..auth.auth import Authenticator

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
    user: str
    """The user that the client speaks for; without a token its client ID."""
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


class HandshakeChecker:
    """Checks handshakes for one pod, and counts those that it refuses.

    Without an `authenticator` every client may come, as a user of its own; `auth_cookie` names the
    cookie that may hold a token. Of the subprotocols that a client offers ours is selected, or the
    first of `subprotocols`. Path, query and token together may name `rooms_per_session` rooms.
    """

    def __init__(
        self,
        pod: Pod,
        refused_clients: RefusedClients,
        *,
        origins: OriginPolicy,
        authenticator: Authenticator | None,
        auth_cookie: str | None,
        subprotocols: Sequence[str],
        rooms_per_session: int,
    ) -> None:
        self._pod = pod
        self._refused_clients = refused_clients
        self._origins = origins
        self._authenticator = authenticator
        self._auth_cookie = auth_cookie
        self._subprotocols = subprotocols
        self._rooms_per_session = rooms_per_session
        self._full = RateLimitedWarning()
        self._foreign_page = RateLimitedWarning()

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
        self._pod.admission.refuse_while_draining()
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
            user=user,
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
                "Refused a client: this worker has %d, the most that CHAT_MAX_CONNECTIONS allows",
                self._pod.admission.limit,
            )
        elif refusal.code == "forbidden_origin":
            self._foreign_page.log(
                "Refused a page of origin %.200r, connecting to host %.200r: %s",
                ", ".join(handshake.lines("origin")),
                ", ".join(handshake.lines("host")),
                _WHICH_HOST if self._origins.compares_hosts else _WHICH,
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


def _descriptor_of(transport: asyncio.BaseTransport | None) -> int:
    """The number of a client's file descriptor; 0 if it is gone."""
    socket = None if transport is None else transport.get_extra_info("socket")
    return 0 if socket is None else socket.fileno()
