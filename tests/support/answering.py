"""An HTTP server that is none of ours, and answers every request alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


class Answering(HTTPServer):
    """A server that keeps what it was asked."""

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.body, self.headers = status, body, headers
        self.asked: list[tuple[str, str, str, bytes]] = []
        """Method, path, Authorization and body of each request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/x"


class Answer(BaseHTTPRequestHandler):
    server: Answering

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.server.asked.append(
            (self.command, self.path, self.headers["Authorization"], self.rfile.read(size))
        )
        self.send_response(self.server.status)
        for name, value in {**self.server.headers, "Content-Length": len(self.server.body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[Answering]:
    with Answering(status, body, headers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
