"""One WebSocket client of the load, as callbacks.

It reads in one of three ways. *Attentive*, while connections are made and idle: every frame is
parsed, pings are answered. *Counting*, while a passive member is measured: the kernel throws the
bytes away and says how many there were. *Keeping*, while a checked member is measured: what came,
and when, is kept in memory and looked at afterwards. A sender searches for its own messages.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from errno import EINPROGRESS
from select import EPOLLIN, EPOLLOUT
from time import monotonic_ns

from websockets.frames import Opcode

from .loop import Loop
from .wire import ACCEPT, MessageMaker, Wire, client_frame, handshake, server_frames

_READ_BYTES = 256 * 1024
_scratch = bytearray(_READ_BYTES)
_view = memoryview(_scratch)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Client:
    """A connection to one room. `number` tells it from all others, `room` is the room's index."""

    def __init__(self, loop: Loop, wire: Wire, *, port: int, room: int, number: int) -> None:
        self.room = room
        self.number = number
        self.port = 0
        """The client's own port, once connected."""
        self.worker = 0
        """The index of the server's process it is on, where that matters."""
        self.is_open = False
        self.began_ns = self.opened_ns = 0
        """The times at which it began to connect, and was open."""
        self.failure = ""
        """The reason why the connection is not, or no longer, there."""
        self.texts: list[bytes] = []
        """The messages that came while it was attentive; no greetings, no keep-alives."""
        self.frame_bytes = 0
        """The length of the last of these frames, on the wire."""
        self.received = 0
        """Bytes that came while counting or keeping."""
        self.kept: list[tuple[int, bytes]] = []
        """The time (ns) and the bytes of each read while keeping."""
        self.sent = 1
        """The probe included, which one sender of each room sends for all."""
        self.on_open: Callable[[Client], None] | None = None
        self.on_close: Callable[[Client], None] | None = None
        self._loop = loop
        self.wire = wire
        self._server_port = port
        self._greeting = list(wire.greeting)
        self._rest = b""
        self._unsent = b""

    # -- connecting ------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to connect; `on_open` or `on_close` tells how it went."""
        self.began_ns = monotonic_ns()
        self._socket = socket.socket()
        self._descriptor = self._socket.fileno()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Thousands of ports in TIME_WAIT would keep the next run from connecting.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        error = self._socket.connect_ex(("127.0.0.1", self._server_port))
        self._handler = self._connected
        self._loop.watch(self._descriptor, EPOLLOUT, self._connected)
        if error not in (0, EINPROGRESS):
            self._lost(OSError(error, "connect"))

    def _connected(self) -> None:
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lost(OSError(error, "connect"))
            return
        self.port = self._socket.getsockname()[1]
        self._handler = self._read_answer
        self._loop.change(self._descriptor, EPOLLIN, self._read_answer)
        path = self.wire.path.format(room=self.wire.room_name(self.room))
        self._write(handshake(path, self._server_port))

    def _read_answer(self) -> None:
        data = self._read()
        if data is None:
            return
        self._rest += data
        head, found, rest = self._rest.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT not in head:
            self._lost(ConnectionError(head.decode(errors="replace")))
            return
        self._rest = b""
        self._read_with(self._attend)
        if not self._greeting:
            self._opened()
        self._take(rest)

    def _opened(self) -> None:
        self.opened_ns = monotonic_ns()
        self.is_open = True
        if self.on_open is not None:
            self.on_open(self)

    # -- ways to read ----------------------------------------------------------------------

    def attend(self) -> None:
        """Parse every frame from now on."""
        self._read_with(self._attend)

    def count(self) -> None:
        """Only count bytes from now on."""
        self._read_with(self._count)

    def keep(self) -> None:
        """Keep what comes from now on, and when."""
        self._read_with(self._keep)

    def _read_with(self, handler: Callable[[], None]) -> None:
        self._handler = handler
        if not self._unsent:
            self._loop.handlers[self._descriptor] = handler

    def _attend(self) -> None:
        data = self._read()
        if data:
            self._take(data)

    def _take(self, data: bytes) -> None:
        data = self._rest + data
        consumed = 0
        for first, start, end, began in server_frames(data):
            consumed = end
            payload = data[start:end]
            opcode = first & 0xF
            if opcode == Opcode.PING:
                self._write(client_frame(payload, Opcode.PONG))
            elif opcode == Opcode.CLOSE:
                self._lost(ConnectionError(f"closed with {payload!r}"))
                return
            elif self._greeting and payload.startswith(self._greeting[0][0]):
                answer = self._greeting.pop(0)[1]
                if answer is not None:
                    self._write(client_frame(answer))
                if not self._greeting:
                    self._opened()
            elif payload in self.wire.keepalive:
                self._write(client_frame(self.wire.keepalive[payload]))
            else:
                self.texts.append(payload)
                self.frame_bytes = end - began
        self._rest = data[consumed:]

    def _count(self) -> None:
        try:
            # The kernel throws the bytes away: nothing is copied.
            size = self._socket.recv_into(_scratch, _READ_BYTES, socket.MSG_TRUNC)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if size:
            self.received += size
        else:
            self._lost(ConnectionError("end of stream"))

    def _keep(self) -> None:
        data = self._read()
        if data:
            self.kept.append((monotonic_ns(), data))
            self.received += len(data)

    def _read(self) -> bytes | None:
        try:
            size = self._socket.recv_into(_scratch)
        except BlockingIOError:
            return None
        except OSError as error:
            self._lost(error)
            return None
        if not size:
            self._lost(ConnectionError("end of stream"))
            return None
        return bytes(_view[:size])

    # -- sending ---------------------------------------------------------------------------

    def prepare_to_send(self, payload_bytes: int) -> None:
        """Call before the first `send` or `probe`."""
        self._maker = MessageMaker(self.wire, self.number, payload_bytes)

    def probe(self) -> None:
        """Send message 0."""
        self._write(self._maker.frame(0, monotonic_ns()))

    def send(self, time_ns: int) -> None:
        """Send the next message; `time_ns` is when that was due."""
        frame = self._maker.frame(self.sent, time_ns)
        self.sent += 1
        self._write(frame)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._write(data)

    def start_closed_loop(self, window: int, *, keep: bool) -> None:
        """Send `window` messages, and one more whenever one of its own has come back."""
        self._tail = b""
        self._keeps = keep
        self._sending = True
        self._read_with(self._count_own)
        for _ in range(window):
            self.send(monotonic_ns())

    def stop_sending(self) -> None:
        """Send no more in the closed loop."""
        self._sending = False

    def _count_own(self) -> None:
        data = self._read()
        if not data:
            return
        if self._keeps:
            self.kept.append((monotonic_ns(), data))
        self.received += len(data)
        if not self._sending:
            return
        marker = self._maker.own_marker
        data = self._tail + data
        # Whole markers are counted now; of one that is cut in two, the first half is kept.
        self._tail = data[1 - len(marker) :]
        for _ in range(data.count(marker)):
            self.send(monotonic_ns())

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lost(error)
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.change(self._descriptor, EPOLLIN | EPOLLOUT, self._write_rest)

    def _write_rest(self) -> None:
        data, self._unsent = self._unsent, b""
        self._write(data)
        if not self.failure and not self._unsent:
            self._loop.change(self._descriptor, EPOLLIN, self._handler)
        if not self.failure:
            self._handler()

    # -- ending ----------------------------------------------------------------------------

    def close(self, reason: str = "closed") -> None:
        """Drop the connection, if there is one; `reason` becomes its failure."""
        if self.began_ns and not self.failure:
            self.on_close = None
            self._lost(ConnectionError(reason))

    def _lost(self, error: OSError) -> None:
        if self.failure:
            return
        self.is_open = False
        self.failure = str(error)
        self._loop.forget(self._descriptor)
        self._socket.close()
        if self.on_close is not None:
            self.on_close(self)
