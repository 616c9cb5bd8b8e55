"""The sources of keys: a file, or a URL.

    AUTH_KEYS_FILE ─→ KeyFile ──┐
    AUTH_JWKS_URL ─→ KeyURL ────┴→ read ─→ the bytes of a set

Reading waits for others: a disk, a name server, a web server. So it may be done in any thread, and
another thread may `abandon` it.

May live here: files and HTTP, and what is too much of it. Must not know keys, nor the event loop.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import stat
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from .keys import MAX_SET_BYTES

READ_SECONDS: Final = 5.0
"""The time that a set may take to be read; a web server may take it for each of its packets."""


class Unreadable(Exception):
    """A set of keys cannot be read; the text says why."""


class KeySource(Protocol):
    """A place that a set of keys is read from."""

    name: str
    """Its name in the log, without secrets."""

    def read(self) -> bytes:
        """Read the set, as it is now. Raises Unreadable. One thread at a time may call it."""

    def abandon(self) -> None:
        """Make a `read` of another thread end, if it can be ended."""


class KeyFile:
    """A regular file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.name = f"AUTH_KEYS_FILE {path!r}"

    def read(self) -> bytes:
        """Read it. Raises Unreadable."""
        try:
            # Without O_NONBLOCK one would wait for who writes into a pipe.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Unreadable("it is no regular file")
                with open(descriptor, "rb", closefd=False) as file:
                    return file.read(MAX_SET_BYTES + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from None
        except ValueError as error:  # a path may also hold what no path may
            raise Unreadable(str(error)) from None

    def abandon(self) -> None:
        """Do nothing: nothing ends the wait for a disk."""


class KeyURL:
    """A URL, of https or of this machine.

    Redirects are not followed: they may lead to whom the operator does not trust. A certificate is
    checked with the authorities of the system. https goes by way of HTTPS_PROXY, if it is set,
    where nobody can look into it; http goes by no proxy.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = f"AUTH_JWKS_URL {parts._replace(query='').geturl()}"  # a query may be secret
        self._url = url
        self._is_secure = parts.scheme == "https"
        self._socket: socket.socket | None = None
        """A second handle of the socket that is read from."""
        self._is_abandoned = False

    def read(self) -> bytes:
        """Fetch it. Raises Unreadable."""
        self._is_abandoned = False
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(None if self._is_secure else {}),
            _Handler(self._open),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            opener.add_handler(handler)
        accepted = {"Accept": "application/jwk-set+json, application/json"}
        request = urllib.request.Request(self._url, headers=accepted)
        request.add_header("User-Agent", "sanic_chat")
        try:
            with opener.open(request, timeout=READ_SECONDS) as response:
                body = bytes(response.read(MAX_SET_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                is_redirect = error.code in range(300, 400)
                why = ": redirects are not followed" if is_redirect else ""
                raise Unreadable(f"the answer is {error.code}{why}") from None
        except TimeoutError:
            raise Unreadable(f"no answer within {READ_SECONDS:g} s") from None
        except OSError as error:
            raise Unreadable(str(getattr(error, "reason", error))) from None
        except http.client.HTTPException as error:
            raise Unreadable(f"the answer is no HTTP ({type(error).__name__})") from None
        except ValueError:  # its text may show the proxy's password
            raise Unreadable("the URL, or that of HTTPS_PROXY, cannot be used") from None
        finally:
            if self._socket is not None:
                self._socket.close()
        if self._is_abandoned:  # which looks like the end of an answer
            raise Unreadable("it was not waited for")
        return body

    def abandon(self) -> None:
        """End its connection, or that which follows on the wait for a name server."""
        self._is_abandoned = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _open(self, *arguments: Any) -> socket.socket:
        opened = socket.create_connection(*arguments)
        self._socket = opened.dup()  # TLS takes the other
        if self._is_abandoned:
            self.abandon()
        return opened


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens http and https by sockets that `create_connection` makes."""

    def __init__(self, create_connection: Any) -> None:
        super().__init__()
        self._create_connection = create_connection

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._http, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._https, request, context=ssl.create_default_context())

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def _http(self, host: str, **options: Any) -> Any:
        return self._watched(http.client.HTTPConnection(host, **options))

    def _https(self, host: str, **options: Any) -> Any:
        return self._watched(http.client.HTTPSConnection(host, **options))

    def _watched(self, connection: Any) -> Any:
        connection._create_connection = self._create_connection
        return connection
