"""Certificates: when they end, those in files and those that a server shows.

    file, or host and port ─→ certificates ─→ judge_ends ─→ Finding

May live here: reading certificates, and how soon is too soon. Must not know whose they are.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from .findings import Check, Finding, Status, Unanswerable, in_thread

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CONNECT_SECONDS = 5.0
LIMIT = "a tenth of its time is left"


class Files(NamedTuple):
    """The files with certificates that this deployment uses."""

    own: Sequence[str] = ()
    """Certificates that are shown to others, each with its chain."""
    authorities: Sequence[str] = ()
    """Certificates that others are trusted by: of each file one has to be good."""


class _Named(NamedTuple):
    name: str
    begins: datetime
    ends: datetime

    def is_soon(self, now: datetime) -> bool:
        from ..config.certificate import is_soon_over  # here, since it loads what reads them

        return is_soon_over(self.begins, self.ends, now)


async def certificate_files(files: Files) -> Finding:
    """The end of the certificates in the files that settings and options name."""
    if not files.own and not files.authorities:
        raise Unanswerable("no file with a certificate is named, by REDIS_URL or by --cert")
    return await in_thread(lambda: _judge_files(files))


def _judge_files(files: Files) -> Finding:
    found: list[_Named] = []
    try:
        for path in files.own:
            found += _read(path)
        for path in files.authorities:
            found.append(max(_read(path), key=lambda one: one.ends))
    except (OSError, ValueError) as error:
        return Finding(Status.FAILURE, str(error), LIMIT, "openssl x509 -noout -enddate -in FILE")
    return judge_ends(found, "openssl x509 -noout -enddate -in FILE")


def _read(path: str) -> list[_Named]:
    """The certificates in a file. Raises OSError or ValueError if there are none."""
    # Only here: loading it takes longer than all other checks' modules together.
    from cryptography.x509 import load_pem_x509_certificates

    with open(path, "rb") as file:
        text = file.read(4 * 1024 * 1024)
    try:
        return [_named(path, one) for one in load_pem_x509_certificates(text)]
    except ValueError as error:
        raise ValueError(f"{path} holds no certificate in PEM: {error}") from None


def _named(name: str, certificate: Certificate) -> _Named:
    return _Named(name, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


async def certificate_shown(host: str, port: int) -> Finding:
    """The end of the certificate that a server shows, trusted or not.

    Raises Unanswerable if there is no server, or none that speaks TLS.
    """

    def fetch() -> _Named:
        from cryptography.x509 import load_pem_x509_certificate

        text = ssl.get_server_certificate((host, port), timeout=CONNECT_SECONDS)
        return _named(f"{host}:{port}", load_pem_x509_certificate(text.encode()))

    try:
        shown = await in_thread(fetch)
    except (OSError, ValueError) as error:
        raise Unanswerable(f"{host}:{port} shows no certificate: {error}") from None
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return judge_ends(
        [shown],
        f"openssl s_client -connect {address} </dev/null | openssl x509 -noout -enddate",
    )


def judge_ends(found: Iterable[_Named], mend: str) -> Finding:
    """Judge certificates by the one that is over, or ends, first."""
    now = datetime.now(UTC)
    worst = min(found, key=lambda one: (not one.begins > now, not one.is_soon(now), one.ends))
    days = (worst.ends - now).total_seconds() / 86_400
    until = f"{worst.ends:%Y-%m-%d %H:%M} UTC"
    if worst.begins > now:
        measured = f"{worst.name} is valid only from {worst.begins:%Y-%m-%d %H:%M} UTC on"
        return Finding(Status.FAILURE, measured, LIMIT, "date -u")
    if days < 0:
        return Finding(Status.FAILURE, f"{worst.name} ended at {until}", LIMIT, mend)
    measured = f"{worst.name} ends in {days:.1f} days, at {until}"
    if worst.is_soon(now):
        return Finding(Status.WARNING, measured, LIMIT, mend)
    return Finding(Status.WELL, measured, LIMIT)


CHECKS = (
    Check(
        "certificate_files",
        "from that moment on nobody connects who looks at it",
        certificate_files,
    ),
)
