"""The certificate that a server shows its clients: whether it can be shown, and until when.

    --cert, --key, --tls ─→ `check_tls` ─→ what Sanic is given, and doubts for the log

Sanic reads the files itself, in each process, and says what is wrong with them in tracebacks or not
at all. May live here: what OpenSSL and clients take, in a sentence. Must not know who serves.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from ..errors import ConfigError

SHORT = 0.1
"""The share of a certificate's time that is left when its end is worth a word."""
_MISMATCHES = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A certificate that can be shown: its files can be read, and the key is its own."""

    path: str
    key_path: str
    names: tuple[str, ...]
    """The host names and addresses that clients look for; without any, browsers refuse it."""
    begins: datetime
    ends: datetime

    @classmethod
    def read(cls, path: str, key_path: str, password: Any = None) -> ServerCertificate:
        """Read a certificate and its key, both in PEM. Raises ConfigError.

        A key that is encrypted is refused if there is no `password`: nobody is there to type one.
        """
        pem = _read(f"The certificate {path}", path)
        _read(f"The key {key_path}", key_path)
        try:
            certificate = x509.load_pem_x509_certificates(pem)[0]
            names = tuple(_names(certificate))
        except ValueError as error:
            raise ConfigError(f"{path} holds no certificate in PEM: {error}") from None
        _load(path, key_path, password)
        return cls(
            path, key_path, names, certificate.not_valid_before_utc, certificate.not_valid_after_utc
        )

    def doubts(self, now: datetime | None = None) -> Iterator[str]:
        """Yield a sentence for each reason why clients refuse it, or soon will."""
        now = now or datetime.now(UTC)
        if not self.names:
            yield (
                f"The certificate {self.path} has no subjectAltName: browsers and nearly all other "
                "clients refuse it"
            )
        if now > self.ends:
            yield f"The certificate {self.path} has ended at {self.ends}: clients refuse it"
        elif now < self.begins:
            yield f"The certificate {self.path} begins only at {self.begins}: clients refuse it"
        elif is_soon_over(self.begins, self.ends, now):
            yield f"The certificate {self.path} ends at {self.ends}"


def is_soon_over(begins: datetime, ends: datetime, now: datetime) -> bool:
    """Whether the end of a certificate is worth a word: nearly all of its time is over."""
    return ends - now < (ends - begins) * SHORT


def check_tls(tls: Any) -> tuple[Any, list[str]]:
    """Check what `Sanic.prepare` takes as `ssl`, and return what it is to take, with doubts.

    That is a folder with `fullchain.pem` and `privkey.pem`, a dict with `cert` and `key`, or
    several of these. A context and None are taken as they are. Raises ConfigError.
    """
    if isinstance(tls, (list, tuple)):
        checked = [check_tls(one) for one in tls]
        doubts = [doubt for _, more in checked for doubt in more]
        dicts = [one for one, _ in checked if isinstance(one, dict)]
        if dicts and not any(one["names"] for one in dicts):
            raise ConfigError(
                "None of several certificates has a subjectAltName, by which they are told apart"
            )
        return [one for one, _ in checked], doubts
    if isinstance(tls, str):
        tls = {"cert": f"{tls}/fullchain.pem", "key": f"{tls}/privkey.pem"}
    if not isinstance(tls, dict):
        return tls, []
    path, key_path = tls.get("cert"), tls.get("key")
    if not path or not key_path:
        raise ConfigError("--cert and --key belong together")
    found = ServerCertificate.read(str(path), str(key_path), tls.get("password"))
    # Without names Sanic looks for them itself, and stumbles where there are none.
    return {"names": list(found.names), **tls}, list(found.doubts())


def _read(what: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{what} cannot be read: {reason}") from None


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from found.get_values_for_type(x509.DNSName)
    yield from map(str, found.get_values_for_type(x509.IPAddress))


def _load(path: str, key_path: str, password: Any) -> None:
    """Load both as a server does."""

    def nobody() -> str:
        raise ConfigError(
            f"The key {key_path} is encrypted, and nobody is there to type its password: write it "
            f"without one (openssl pkey -in {key_path} -out …), readable for the server only"
        )

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, key_path, nobody if password is None else password)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise ConfigError(
                f"The key {key_path} is not the key of the certificate {path}"
            ) from None
        raise ConfigError(
            f"OpenSSL does not take the certificate {path} with the key {key_path}: "
            f"{error.reason or 'one of them is no PEM, or damaged'}"
        ) from None
