"""The server with one more route, `/echo`, which sends back what it gets: for Autobahn|Testsuite.

Run as `sanic tests.support.echo_server:app`. Handshake, upgrade, session and frame parser are the
chat's own. Only that binary messages get through is the tests' doing: the chat refuses them with
1003.
"""

from __future__ import annotations

from typing import Any

from sanic import HTTPResponse, Request

from sanic_chat import create_app
from sanic_chat.errors import UpgradeRefused
from sanic_chat.logs.logger import logger
from sanic_chat.pod.pod import Pod
from sanic_chat.session.handler import Ending
from sanic_chat.session.send_queue import Missed
from sanic_chat.session.session import Session
from sanic_chat.upgrade.sanic_http import answers_with_a_socket, handshake_of, take_socket
from sanic_chat.upgrade.upgrader import switch_protocols
from sanic_chat.web.errors import refusal_response
from sanic_chat.websocket.frames import BINARY, TEXT, text_frame
from sanic_chat.websocket.handshake import accept_key_for
from sanic_chat.websocket.parser import FrameLimits, FrameParser


class Binary(bytes):
    """The payload of a binary message."""


class BinaryParser(FrameParser):
    """Lets binary messages through, as if they were text, but does not ask them for UTF-8."""

    __slots__ = ("_binary",)

    def __init__(self, limits: FrameLimits) -> None:
        super().__init__(limits)
        self._binary = False

    def _check_header(self, first: int, second: int) -> None:
        is_binary = first & 0xF == BINARY
        super()._check_header(first ^ BINARY ^ TEXT if is_binary else first, second)

    def _fragment(self, first: int, payload: bytes) -> bytes | None:
        if self._fragments is None:
            self._binary = first & 0xF == BINARY
        message = super()._fragment(first, payload)
        return Binary(message) if self._binary and message is not None else message

    def _check_fragment(self, payload: bytes, final: bool) -> None:
        if not self._binary:
            super()._check_fragment(payload, final)


class EchoSession(Session):
    """A session that accepts binary messages."""

    __slots__ = ()

    def __init__(self, handler: EchoHandler) -> None:
        super().__init__(handler, client_id="echo")
        self._parser = BinaryParser(handler.limits)


class EchoHandler:
    """Sends every message back to where it came from."""

    def __init__(self, pod: Pod) -> None:
        self.limits = pod.limits
        self.send_queues = pod.send_queues

    def message_received(self, session: Session, payload: bytes) -> None:
        frame = text_frame(payload)
        if isinstance(payload, Binary):
            frame = bytes((frame[0] ^ TEXT ^ BINARY,)) + frame[1:]
        session.send(frame)

    def session_failed(self, session: Session, error: Exception) -> None:
        logger.error("A session failed", exc_info=error)

    def session_ends(self, session: Session, ending: Ending) -> None:
        pass

    def session_closing(self, session: Session) -> None:
        pass

    def session_closed(self, session: Session) -> None:
        pass

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        pass

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        return b""


@answers_with_a_socket
async def echo(request: Request) -> HTTPResponse | None:
    """The upgrade to a session that echoes."""
    try:
        accept = accept_key_for(handshake_of(request))
    except UpgradeRefused as refusal:
        return refusal_response(refusal)
    session = EchoSession(EchoHandler(request.app.ctx.worker.pod))
    socket = take_socket(request)
    if socket is not None:
        transport, early = socket
        switch_protocols(transport, session, accept, early, on_open=lambda: None)
    return None


def __getattr__(name: str) -> Any:
    # As in server.py: made when it is asked for.
    if name != "app":
        raise AttributeError(name)
    global app
    app = create_app()
    app.add_route(echo, "/echo")
    return app
