"""The addresses of clients: from their sockets, or from X-Forwarded-For behind a trusted proxy.

May live here: how an address is written, and how that header is read. Must not know sessions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

UNIX = "unix"
"""The peer on a Unix socket: a proxy on the same machine."""

UNKNOWN = "unknown"
"""The peer of a socket that is gone."""

MAX_PROXIES = 16
"""The number of addresses of an X-Forwarded-For that are looked at, from its end."""

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15}):[0-9]{1,5}")


class ClientAddresses:
    """Finds the addresses of clients.

    `trusted` are the networks of proxies whose X-Forwarded-For counts, and `UNIX` for proxies that
    connect over a Unix socket.
    """

    def __init__(self, trusted: Collection[Network | str]) -> None:
        self._networks = [network for network in trusted if not isinstance(network, str)]
        self._trusts_unix = UNIX in trusted

    @property
    def trusts_proxies(self) -> bool:
        """Whether any proxy's X-Forwarded-For counts."""
        return bool(self._networks) or self._trusts_unix

    def of(self, peername: Any, forwarded: Sequence[str]) -> str:
        """Return a client's address, from its socket's peer and its X-Forwarded-For lines.

        Each proxy appends the address of its own peer to that header, and a client can begin it
        with anything. So the header is read from its end, and the first address that is no trusted
        proxy's is the client's. It has a port only if it is the socket's own. Without a socket it
        is `UNKNOWN`.
        """
        if isinstance(peername, tuple):
            host, port = peername[:2]
            last = _read(host)
            if last is None:
                return str(host)
            if not self._trusts(last):
                return f"[{last}]:{port}" if last.version == 6 else f"{last}:{port}"
            shown = str(last)
        elif peername is None:
            return UNKNOWN
        else:
            shown = UNIX
            if not self._trusts_unix:
                return shown
        for element in reversed(",".join(forwarded).rsplit(",", MAX_PROXIES)[-MAX_PROXIES:]):
            address = _read(element.strip())
            if address is None:
                break
            shown = str(address)
            if not self._trusts(address):
                break
        return shown

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _read(text: str) -> Address | None:
    """Read an address with or without a port. An IPv4 one that is written as IPv6 is IPv4."""
    if (match := _WITH_PORT.fullmatch(text)) is not None:
        text = match[1] or match[2]
    try:
        address = ip_address(text.partition("%")[0])  # without a zone
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
