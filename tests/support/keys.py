"""Keys of tests: pairs, JWK sets of them, and a server that such a set is fetched from."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SECRET = "a shared secret of more than sixty-four bytes, as HS512 wants it to be"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key for ES256, which is made in no time."""
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def jwk_of(key: PrivateKey | str, **members: Any) -> dict[str, Any]:
    """The JWK of a public key, or of a secret; a member that is None is left out."""
    made: dict[str, Any]
    if isinstance(key, str):
        made = jwt.algorithms.HMACAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, rsa.RSAPrivateKey):
        made = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in {**made, **members}.items() if value is not None}


def set_of(*jwks: Any) -> bytes:
    """The JSON of a JWK set."""
    return json.dumps({"keys": jwks}).encode()


def sign(key: PrivateKey | str, algorithm: str, user: str = "anna", **header: Any) -> str:
    """A token of a user with a header, as `kid`."""
    return jwt.encode({"sub": user}, key, algorithm, headers=header)


class KeyServer:
    """A web server of JWK sets, in threads of its own; use it as `with running_key_server()`."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests: list[dict[str, str]] = []
        """The headers of the requests so far."""
        self.misbehave: Callable[[BaseHTTPRequestHandler], None] | None = None
        """What is done in place of an answer."""
        self.ended = threading.Event()
        self.url = ""


def hang(request: BaseHTTPRequestHandler) -> None:
    """Say nothing, until the client is gone."""
    request.rfile.read(1)


def trickle(request: BaseHTTPRequestHandler) -> None:
    """Send a header that never ends, a little at a time, until the client is gone."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.05)


@contextmanager
def running_key_server(
    *jwks: Any, tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[KeyServer]:
    """A server of a set with these keys, at `url`."""
    server = KeyServer()
    server.body = set_of(*jwks)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append({"path": self.path, **self.headers})
            try:
                if server.misbehave is not None:
                    server.misbehave(self)
                    return
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(server.body)
            except OSError:
                pass
            finally:
                if server.misbehave is not None:
                    server.ended.set()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as httpd:
        httpd.daemon_threads = True
        httpd.block_on_close = False
        if tls is not None:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{httpd.server_address[1]}/keys"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()
