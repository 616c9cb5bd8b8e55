"""A WebSocket within HTTP/2 (RFC 8441), as browsers open it where a server says that it may."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived
from h2.settings import SettingCodes

from .frames import client_frame, take_server_frame
from .harness import DEADLINE

TEXT, PONG = 0x81, 0x8A


class Http2WebSocket:
    """One stream of a connection that speaks HTTP/2. Made by `connect_http2`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._stream = 0
        self._data = bytearray()
        self.is_offered: bool | None = None
        """Whether the server takes such streams; None until it has sent its settings."""
        self.status = 0
        """The status of the answer; 0 if the server takes none."""

    async def open(self, authority: str, path: str, **headers: str) -> None:
        """Shake hands, if the server takes such streams; `status` says how that ended."""
        self._http.initiate_connection()
        self._flush()
        while self.is_offered is None:
            await self._read()
        if not self.is_offered:
            return
        self._stream = self._http.get_next_available_stream_id()
        pseudo = {
            ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https",
            ":authority": authority, ":path": path, "sec-websocket-version": "13",
        }  # fmt: skip
        self._http.send_headers(self._stream, [*{**pseudo, **headers}.items()])
        self._flush()
        while not self.status:
            await self._read()

    def send(self, text: bytes) -> None:
        """Send a message."""
        self._http.send_data(self._stream, client_frame(TEXT, text))
        self._flush()

    async def receive(self) -> bytes:
        """The payload of the next frame, a ping's too."""
        while (frame := take_server_frame(self._data)) is None:
            await self._read()
        return frame[1]

    def pong(self) -> None:
        """Answer a ping."""
        self._http.send_data(self._stream, client_frame(PONG))
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())

    async def _read(self) -> None:
        async with asyncio.timeout(DEADLINE):
            data = await self._reader.read(65536)
        assert data, "the connection ended"
        for event in self._http.receive_data(data):
            if isinstance(event, RemoteSettingsChanged):
                offer = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
                self.is_offered = offer is not None and offer.new_value == 1
            elif isinstance(event, ResponseReceived):
                self.status = int(dict(event.headers)[":status"])
            elif isinstance(event, DataReceived):
                self._data += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._flush()


@asynccontextmanager
async def connect_http2(
    port: int, path: str, tls: ssl.SSLContext, **headers: str
) -> AsyncIterator[Http2WebSocket]:
    """A WebSocket within HTTP/2, to a port of this machine."""
    tls.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        client = Http2WebSocket(reader, writer)
        await client.open(f"127.0.0.1:{port}", path, **headers)
        yield client
    finally:
        writer.transport.abort()
