"""The rule for web pages: the Origin header (RFC 6454) against a list, or against the own host.

A browser lets any page open a WebSocket to anywhere, and says in `Origin` whose page it is; other
clients send none. May live here: origins, and which of them may connect. Must not know HTTP beyond
the headers Origin and Host.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import AddressValueError, IPv6Address

ANY = "*"
OPAQUE = "null"
"""The origin that browsers give pages without one: sandboxed frames, files."""
FILE = "file://"
"""The origin that web views, mostly in mobile applications, give pages that are files."""

_AUTHORITY = r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?"
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://{_AUTHORITY}", re.IGNORECASE | re.ASCII)
_HOST = re.compile(_AUTHORITY, re.IGNORECASE | re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_origin(text: str) -> str | None:
    """Return the one spelling of an origin: lower case, no default port. None if it is none."""
    if text.lower() in (OPAQUE, FILE):
        return text.lower()
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme = match[1].lower()
    authority = _authority(match[2], match[3], scheme)
    if authority is None:
        return None
    host, port = authority
    shown = "" if port is None or port == _DEFAULT_PORTS.get(scheme) else f":{port}"
    return f"{scheme}://{host}{shown}"


class OriginPolicy:
    """Decides by the headers of a handshake whether its client may connect.

    `allowed` are normalised origins, or `*` for every origin. Empty allows pages of the host that
    the client connects to.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    @property
    def compares_hosts(self) -> bool:
        """Whether the Host header decides, which a proxy may change."""
        return not self._allowed

    def admits(self, origins: Sequence[str], hosts: Sequence[str], *, secure: bool) -> bool:
        """Whether a request with these Origin and Host headers may connect.

        `secure`: it came over TLS, so its page must be an https one. Without TLS a proxy may have
        taken the TLS off, and the page's scheme is not looked at.
        """
        if not origins or ANY in self._allowed:
            return True
        if len(origins) > 1:
            return False  # no browser sends two
        if self._allowed:
            return normalise_origin(origins[0]) in self._allowed
        return len(hosts) == 1 and _is_own_host(origins[0], hosts[0], secure=secure)


def _is_own_host(origin: str, host: str, *, secure: bool) -> bool:
    page, own = _ORIGIN.fullmatch(origin), _HOST.fullmatch(host)
    if page is None or own is None:
        return False
    scheme = page[1].lower()
    if secure and scheme != "https":
        return False
    theirs = _authority(page[2], page[3], scheme)
    return theirs is not None and theirs == _authority(own[1], own[2], scheme)


def _authority(host: str, port: str | None, scheme: str) -> tuple[str, int | None] | None:
    """Host and port in one spelling, the scheme's default port included; None if they are none."""
    host = host.lower()
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1]).compressed}]"
        except AddressValueError:
            return None
    if port is None:
        return host, _DEFAULT_PORTS.get(scheme)
    number = int(port)
    return (host, number) if 0 < number < 65536 else None
