"""The server, for whom no name is looked up a second time: its name server has gone silent.

Run as `sanic tests.support.hanging_names:app`.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from sanic_chat import create_app

_look_up = socket.getaddrinfo
_seen: set[object] = set()


def _hang_the_second_time(host: Any, *arguments: Any, **options: Any) -> Any:
    if host == "localhost":
        if host in _seen:
            threading.Event().wait()
        _seen.add(host)
    return _look_up(host, *arguments, **options)


socket.getaddrinfo = _hang_the_second_time
app = create_app()
