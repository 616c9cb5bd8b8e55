"""The table of the workers' states, which Sanic shares between its processes.

Sanic keeps it in a process of its own, behind a socket in the directory for temporary files, which
every new worker opens by its name. If that file is deleted or that process killed, no worker can be
replaced any more. Here a thread of the main process serves the table, and on Linux its socket has a
name but no file.

What it touches of Sanic's inside: `sanic.mixins.startup.Manager`; and of Python's: `_state` of a
`BaseManager`.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import sys
import threading
from multiprocessing import managers
from multiprocessing.connection import Connection
from multiprocessing.managers import Server, SyncManager
from typing import Any

from sanic.mixins import startup

_CREDENTIALS = struct.Struct("3i")


class WorkerStates(SyncManager):
    """The part of a `multiprocessing.Manager` that Sanic uses, in a thread of this process."""

    def shutdown(self) -> None:  # type: ignore[override]
        """Do nothing: the table ends with this process."""
        # Or proxies say goodbye at the very end, when no thread can be made to answer them.
        self._state.value = managers.State.SHUTDOWN  # type: ignore[attr-defined]


def serve_worker_states() -> WorkerStates:
    """Make the table and serve it from a thread of this process."""
    server = _listen()
    threading.Thread(target=server.serve_forever, name="worker-states", daemon=True).start()
    states = WorkerStates(address=server.address)
    states.connect()
    return states


def replace_state_server() -> None:
    """Have Sanic use `serve_worker_states` from now on, in place of `multiprocessing.Manager`."""
    startup.Manager = serve_worker_states  # type: ignore[attr-defined]


def _listen() -> Server:
    if sys.platform != "linux":
        return SyncManager().get_server()
    server = SyncManager(address=f"\0sanic-chat-{secrets.token_hex(8)}").get_server()
    handle = server.handle_request

    def handle_own_user(connection: Any) -> None:
        # No directory keeps strangers out. They don't know the key, but could hold connections.
        if _user_of(connection) in (0, os.getuid()):
            handle(connection)
        else:
            connection.close()

    server.handle_request = handle_own_user  # type: ignore[assignment]
    return server


def _user_of(connection: Connection) -> int:
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user
