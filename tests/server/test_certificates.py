"""The certificates that a server is started with: several, one without a name, and wrong ones."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import pytest

from ..support.command import COMMAND
from ..support.harness import DEADLINE, ROOT, RedisProcess, ServerProcess, StartServer
from ..support.tls import Certificate, self_signed_certificate

SANIC = (sys.executable, "-m", "sanic", "server.py")


def in_folder(directory: Path, **kind: object) -> Certificate:
    """A certificate with the file names that `--tls` wants."""
    directory.mkdir()
    made = self_signed_certificate(directory, **kind)
    return Certificate(
        made.pem.rename(directory / "fullchain.pem"), made.key.rename(directory / "privkey.pem")
    )


async def shown_to(server: ServerProcess, host: str) -> bytes:
    """The certificate that a client gets which asks for this host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(DEADLINE):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context, server_hostname=host
        )
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return certificate


async def test_several_and_one_without_a_name(
    start_server: StartServer, shared_redis: RedisProcess, tmp_path: Path
) -> None:
    """Each client gets that of the host it asks for, or the first; a nameless one is warned of."""
    nameless = in_folder(tmp_path / "nameless", named=False)
    named = in_folder(tmp_path / "named", host="chat.example")
    folders = (str(tmp_path / "nameless"), str(tmp_path / "named"))
    server = start_server(
        "--tls", folders[0], "--tls", folders[1], workers=2, REDIS_URL=shared_redis.url
    )
    for host, certificate in (("chat.example", named), ("other.example", nameless)):
        pem = certificate.pem.read_text()
        for _ in range(4):  # of both workers
            assert await shown_to(server, host) == ssl.PEM_cert_to_DER_cert(pem)
    assert server.log.count("has no subjectAltName") == 1
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("command", "code"), [(SANIC, 1), ((*COMMAND, "serve"), 2)], ids=["sanic", "sanic-chat serve"]
)
def test_what_cannot_be_shown(tmp_path: Path, command: tuple[str, ...], code: int) -> None:
    """The command ends with a sentence, and has started nothing."""
    one, other = in_folder(tmp_path / "one"), in_folder(tmp_path / "other")
    wrong = Certificate(one.pem, other.key)
    server = ServerProcess(environment={}, command=command, certificate=wrong, cwd=ROOT)
    try:
        assert server.wait() == code
        [line] = server.log.splitlines()
        assert line == (
            f"sanic_chat does not start: The key {other.key} is not the key of the certificate "
            f"{one.pem}"
        )
        assert server.descendants() == set()
    finally:
        server.close()
