"""When certificates end: those in files, and those that a server shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from sanic_chat.doctor.certificates import Files, certificate_files, certificate_shown
from sanic_chat.doctor.findings import Unanswerable

from ..support.harness import free_port
from ..support.tls import Certificate, self_signed_certificate

DAY = timedelta(days=1)


def made(folder: Path, begun: timedelta, left: timedelta) -> Certificate:
    folder.mkdir()
    return self_signed_certificate(folder, begun=begun, left=left)


@pytest.mark.parametrize(
    ("begun", "left", "status", "told"),
    [
        (89 * DAY, DAY, "warning", "ends in 1.0 days, at "),
        (80 * DAY, 10 * DAY, "well", "ends in 10.0 days, at "),
        (5 * DAY, DAY, "well", "ends in 1.0 days, at "),  # which is renewed often
        (91 * DAY, -DAY, "failure", "ended at "),
        (-DAY, 90 * DAY, "failure", "is valid only from "),
    ],
    ids=lambda value: str(value).partition(",")[0],
)
async def test_how_soon_is_too_soon(
    tmp_path: Path, begun: timedelta, left: timedelta, status: str, told: str
) -> None:
    pem = str(made(tmp_path / "it", begun, left).pem)
    good = str(made(tmp_path / "good", DAY, 89 * DAY).pem)
    finding = await certificate_files(Files([good, pem] if status != "well" else [pem]))
    assert (finding.status, pem in finding.measured) == (status, True)
    assert told in finding.measured


async def test_a_chain_ends_with_its_first_certificate(tmp_path: Path) -> None:
    """All that is shown to others counts; of authorities it is enough that one is good."""
    good, bad = made(tmp_path / "good", DAY, 89 * DAY), made(tmp_path / "bad", 9 * DAY, -DAY)
    both = tmp_path / "both.pem"
    both.write_bytes(good.pem.read_bytes() + bad.pem.read_bytes())
    assert (await certificate_files(Files(own=[str(both)]))).status == "failure"
    assert (await certificate_files(Files(authorities=[str(both)]))).status == "well"
    assert (await certificate_files(Files(authorities=[str(bad.pem)]))).status == "failure"


async def test_files_that_are_none(tmp_path: Path) -> None:
    """They are told with their names; that there are none at all is no fault."""
    (tmp_path / "text").write_text("no certificate")
    for name in ("text", "missing"):
        finding = await certificate_files(Files(own=[str(tmp_path / name)]))
        assert (finding.status, str(tmp_path / name) in finding.measured) == ("failure", True)
    with pytest.raises(Unanswerable):
        await certificate_files(Files())


@asynccontextmanager
async def tls_server(certificate: Certificate) -> AsyncIterator[int]:
    """A port of loopback where that certificate is shown."""
    server = await asyncio.start_server(
        lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=certificate.server_context()
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(("left", "status"), [(DAY, "warning"), (-DAY, "failure")])
async def test_what_a_server_shows(tmp_path: Path, left: timedelta, status: str) -> None:
    """It is looked at whether or not anybody trusts it, and over or not."""
    async with tls_server(made(tmp_path / "it", 89 * DAY, left)) as port:
        finding = await certificate_shown("127.0.0.1", port)
    assert (finding.status, f"127.0.0.1:{port} end" in finding.measured) == (status, True)
    assert f"-connect 127.0.0.1:{port} " in finding.mend


async def test_nobody_there() -> None:
    with pytest.raises(Unanswerable, match="shows no certificate"):
        await certificate_shown("127.0.0.1", free_port())
